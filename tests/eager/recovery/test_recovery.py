"""Recovery: what a sweeper does by itself, and how it bears with what can't be recovered."""

from __future__ import annotations

import time

import pytest
from eager_shop import LIMITS, EagerShop
from eager_steps import coordinator, state_of
from sqlalchemy.orm import Session

from atomic_commit import TransactionRecord, journal
from atomic_commit.coordinator.recover import Sweeper
from tests.installation import INSTALLATION

# ---- "Every outcome worker sweeps by itself, at start and every second or so"


def test_a_sweeper_that_starts_looks_at_everything_at_once_however_far_it_was_put_off(
    shop: EagerShop, removal: TransactionRecord, user: int
) -> None:
    shop.query("users", "UPDATE transactions SET next_look_at = clock_timestamp() + interval '7.5 seconds'")
    shop.prepare_all(removal)
    assert shop.sweep() == 0
    sweeper = Sweeper(shop.engines["users"], shop.atomic("users").coordinator, LIMITS)
    sweeper.start()
    try:
        end = time.monotonic() + 6  # it would be looked at anyway a little later
        while not shop.record("users", removal.id).settled_at and time.monotonic() < end:
            time.sleep(0.02)
    finally:
        sweeper.stop()
    assert shop.status_of_user(user) is None


# ---- "One poisoned transaction stops the sweep: each is handled alone, and quarantined if need be"


@pytest.mark.loud
@pytest.mark.leaves("undecided")
def test_one_poisoned_transaction_does_not_stop_the_others_and_is_quarantined_in_the_end(
    shop: EagerShop, user: int, order: int, removal: TransactionRecord
) -> None:
    shop.query("users", "UPDATE transactions SET kind = 'refund_everybody'")
    grace = shop.add_user("Grace")
    healthy = shop.begin("users", "remove_user", user_id=grace)
    for _ in range(3):
        shop.time_passes(8)
        shop.sweep()
    assert state_of(shop, healthy) == ("committed", 1) or state_of(shop, healthy) == ("committed", 2), shop.tell()
    assert "refund_everybody" in (shop.record("users", removal.id).error or "")
    for _ in range(25):
        shop.time_passes(8)
        shop.sweep()
    assert shop.transaction("users", removal.id)["state"] == "quarantined", shop.tell()
    assert shop.status_of_order(order) == "open"
    assert shop.status_of_user(user) == "removing"


@pytest.mark.loud
def test_a_branch_that_nobody_offers_is_silence_and_is_given_up_at_the_deadline(
    shop: EagerShop, removal: TransactionRecord, user: int
) -> None:
    """As where the service that offers it runs an older version."""
    shop.query(
        "users",
        "UPDATE transaction_branches SET name = 'orders.not_yet', task_id = replace(task_id, name, 'orders.not_yet')"
        " WHERE name LIKE 'orders.%'",
    )
    shop.deadline_passes()
    for _ in range(3):
        shop.time_passes(8)
        shop.sweep()
    assert state_of(shop, removal)[0] == "aborted"
    assert shop.status_of_user(user) == "active"
    shop.recover()


def test_two_sweepers_never_hold_the_same_transaction(shop: EagerShop, removal: TransactionRecord, user: int) -> None:
    grace = shop.add_user("Grace")
    shop.time_passes(2)
    with Session(shop.engines["users"]) as first:
        claimed = [transaction for transaction, _ in journal.claim_due(first, 50, (1.0,), (1.0,), 60.0)]
        assert claimed == [removal.id]
        assert shop.sweep() == 0
        other = shop.begin("users", "remove_user", user_id=grace)
        shop.time_passes_for("users", other.id, 2)
        assert shop.sweep() == 1, "what nobody holds is looked at"
        first.commit()
    assert shop.sweep() == 0, "what was claimed is put off"
    shop.recover()


def test_a_sweeper_that_dies_with_its_claim_loses_nothing(shop: EagerShop, removal: TransactionRecord) -> None:
    shop.time_passes(2)
    with Session(shop.engines["users"]) as dying:
        journal.claim_due(dying, 50, (0.5,), (0.5,), 60.0)
        dying.commit()
    shop.recover()
    assert state_of(shop, removal)[0] == "committed"


def give_each_an_attempt(shop: EagerShop) -> None:
    """As if many more attempts were allowed at once: those that wait for one have it."""
    branch = "users.hold_active_user"
    shop.query(
        "orders",
        "INSERT INTO transaction_branches (transaction_id, attempt, name, position, task_id)"
        f" SELECT id, 1, :branch, 0, '{INSTALLATION}:orders.place_order:' || id || ':1:' || :branch"
        " FROM transactions WHERE waits_until IS NOT NULL",
        branch=branch,
    )
    shop.query(
        "orders",
        "UPDATE transactions SET waits_until = NULL, dispatched = true, next_look_at = clock_timestamp()"
        " WHERE waits_until IS NOT NULL",
    )


def test_more_transactions_than_one_claim_takes_are_all_looked_at(shop: EagerShop, user: int, teapot: int) -> None:
    for _ in range(55):
        shop.begin("orders", "place_order", user_id=user, lines=[{"product_id": teapot, "quantity": 11}])
    give_each_an_attempt(shop)
    with shop.post.loses():
        shop.time_passes(2)
        assert shop.sweep() >= 55, "more, where the first have become due again meanwhile"
    untouched = "SELECT count(*) FROM transactions WHERE looks = 0 AND attempt = 1"
    assert shop.query("orders", untouched) == [(0,)]
    shop.query("orders", "DELETE FROM transaction_branches")
    shop.query("orders", "DELETE FROM transactions")


def test_a_locked_row_is_a_passing_trouble_for_recovery_and_nothing_to_alarm_anybody(
    shop: EagerShop, removal: TransactionRecord, user: int
) -> None:
    """The abort wants to take back the mark on a user whose row somebody has locked: it is looked at again later."""
    shop.deadline_passes()
    with shop.locked("users", "SELECT 1 FROM users FOR UPDATE"):
        shop.time_passes(8)
        shop.sweep()
        assert state_of(shop, removal) == ("preparing", 1)
    shop.recover()
    assert state_of(shop, removal) == ("aborted", 1)
    assert shop.status_of_user(user) == "active"


def test_a_passing_trouble_after_a_long_wait_does_not_quarantine_a_transaction_for_good(
    shop: EagerShop, user: int, order: int
) -> None:
    """The broker was away for long, so recovery has looked often. Then one look meets a locked row."""
    with shop.post.refuses():
        id = shop.remove_user(user, Prefer="respond-async").expect(202).json["transaction"]["id"]
        for _ in range(25):
            shop.time_passes(8)
            shop.sweep()
    shop.deadline_passes()
    with shop.locked("users", "SELECT 1 FROM users FOR UPDATE"):
        shop.time_passes(8)
        shop.sweep()
    assert shop.transaction("users", id)["state"] != "quarantined", shop.tell()
    shop.recover()
    assert shop.status_of_user(user) == "active"


def test_a_decision_is_told_however_long_the_broker_was_away(
    shop: EagerShop, removal: TransactionRecord, user: int
) -> None:
    handed_on = shop.prepare_all(removal)
    with shop.post.refuses():
        coordinator(shop).decide(removal.id, 1, handed_on)
        for _ in range(30):
            shop.time_passes(8)
            shop.sweep()
        assert len(shop.prepared()) == 2
    shop.recover()
    assert shop.prepared() == []
    assert shop.transaction("users", removal.id)["settled"] is True
