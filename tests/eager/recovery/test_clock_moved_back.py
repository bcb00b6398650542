"""The database's clock is moved back: what was put off until a moment that is now far away does not wait for it."""

from __future__ import annotations

import pytest
from eager_shop import LIMITS, EagerShop
from eager_steps import give_up

from atomic_commit import TransactionRecord
from atomic_commit.journal.records import State

AN_HOUR = 3600.0


@pytest.fixture
def removal(shop: EagerShop, user: int, teapot: int) -> TransactionRecord:
    """A removal that was accepted and whose messages were lost."""
    shop.place_order(user, {teapot: 4})
    return shop.begin("users", "remove_user", user_id=user)


def test_recovery_looks_at_once_at_what_seems_to_be_due_in_an_hour(
    shop: EagerShop, removal: TransactionRecord, teapot: int
) -> None:
    handed_on = shop.prepare_all(removal)
    with shop.post.loses():
        shop.atomic("users").coordinator.decide(removal.id, 1, handed_on)
    assert len(shop.prepared()) == 2
    shop.time_passes(-AN_HOUR)
    assert shop.sweep() == 1
    assert shop.prepared() == []
    assert shop.stock_of(teapot) == 10


def test_an_attempt_is_granted_its_patience_from_now_on_and_not_an_hour_more(
    shop: EagerShop, removal: TransactionRecord, user: int
) -> None:
    shop.time_passes(-AN_HOUR)
    shop.sweep()
    now = shop.record("users", removal.id)
    assert (now.state, now.attempt) == (State.PREPARING, 1)
    assert (now.patience_until - now.read_at).total_seconds() <= LIMITS.patience
    shop.recover()
    assert shop.status_of_user(user) is None


def test_who_waits_for_another_attempt_goes_when_its_pause_seems_to_end_in_an_hour(
    shop: EagerShop, removal: TransactionRecord, user: int
) -> None:
    give_up(shop, removal)
    assert shop.record("users", removal.id).waiting
    shop.time_passes(-AN_HOUR)
    shop.sweep()
    now = shop.record("users", removal.id)
    assert (now.waiting, now.attempt) == (False, 2)
    shop.recover()
    assert shop.status_of_user(user) is None


def test_a_pause_that_a_right_clock_has_measured_is_left_as_it_is(shop: EagerShop, removal: TransactionRecord) -> None:
    give_up(shop, removal)
    shop.time_passes(-LIMITS.backoff_cap)
    before = shop.record("users", removal.id)
    shop.sweep()
    assert shop.record("users", removal.id).waits_until == before.waits_until
    shop.recover()


def test_a_clock_that_stands_right_leaves_patience_and_looks_as_they_are(
    shop: EagerShop, removal: TransactionRecord
) -> None:
    before = shop.record("users", removal.id)
    assert shop.sweep() == 0
    now = shop.record("users", removal.id)
    assert (now.patience_until, now.next_look_at) == (before.patience_until, before.next_look_at)
    shop.recover()
