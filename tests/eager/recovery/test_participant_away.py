"""A participant is away for long: it is told seldom, finds few messages when it is back, and then is told at once."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from eager_shop import EagerShop

from atomic_commit import TransactionRecord
from atomic_commit.coordinator.recover import OWED_PAUSES, Sweeper
from atomic_commit.limits import Limits
from celery_config.manifest import SERVICES
from tests.installation import INSTALLATION

AN_HOUR = 3600
#: Messages that a participant may find when it is back after an hour, for each answer that it owes.
FEW = 20


@pytest.fixture
def owed(shop: EagerShop, removal: TransactionRecord) -> TransactionRecord:
    """A removal that is committed, and whose participants have not heard of it."""
    handed_on = shop.prepare_all(removal)
    with shop.post.loses():
        shop.atomic("users").coordinator.decide(removal.id, 1, handed_on)
    return removal


def away_for(shop: EagerShop, seconds: int) -> None:
    """As much time, as recovery sees it: second by second, as long as nothing is due."""
    with shop.post.loses():
        while seconds > 0:
            [(wait,)] = shop.query(
                "users",
                "SELECT extract(epoch FROM min(next_look_at) - clock_timestamp()) FROM transactions"
                " WHERE next_look_at IS NOT NULL",
            )
            passes = max(0.5, float(wait) + 0.01)
            shop.time_passes(passes)
            shop.sweep()
            seconds -= passes


def test_a_participant_that_is_away_for_an_hour_finds_few_messages(shop: EagerShop, owed: TransactionRecord) -> None:
    told = len(shop.post.lost)
    away_for(shop, AN_HOUR)
    repeats = shop.post.lost[told:]
    assert set(repeats) == {INSTALLATION.task(service, "commit") for service in ("orders", "products")}
    assert 5 < len(repeats) / 2 < FEW
    told = len(shop.post.lost)
    away_for(shop, AN_HOUR)
    assert len(shop.post.lost) - told <= 4, "and each further hour finds it with one more"
    shop.atomic("users").coordinator.participant_is_back("orders")
    shop.sweep()
    assert shop.record("users", owed.id).settled_at


def test_an_attempt_that_was_given_up_is_told_as_seldom(shop: EagerShop, removal: TransactionRecord) -> None:
    """Its transaction waits for the answer before it is tried again, and is undecided."""
    shop.prepare_all(removal)
    with shop.post.loses():
        shop.query("users", "UPDATE transactions SET patience_until = clock_timestamp() - interval '1 second'")
        for gid in shop.gids(removal):
            shop.celery.AsyncResult(str(gid)).forget()
        shop.atomic("users").coordinator.decide(removal.id, 1)
    assert shop.record("users", removal.id).waiting
    shop.query("users", "UPDATE transactions SET deadline = clock_timestamp() + interval '1 day'")
    told = len(shop.post.lost)
    away_for(shop, AN_HOUR)
    assert 5 < len(shop.post.lost[told:]) / 2 < FEW
    shop.atomic("users").coordinator.participant_is_back("orders")
    shop.recover()


def test_who_is_back_is_told_at_once_whatever_was_lost_meanwhile(shop: EagerShop, owed: TransactionRecord) -> None:
    away_for(shop, AN_HOUR)
    assert shop.sweep() == 0
    shop.atomic("products").messages.announce(SERVICES)
    assert shop.sweep() == 1
    assert shop.record("users", owed.id).settled_at, "both, for they are told together"


@pytest.fixture
def announced(shop: EagerShop) -> Iterator[list[float]]:
    """When recovery of the users service has said that it is there."""
    said: list[float] = []
    sweeper = Sweeper(
        shop.engines["users"], shop.atomic("users").coordinator, Limits(sweep_interval=0.05), lambda: said.append(0.0)
    )
    sweeper.start()
    yield said
    sweeper.stop()


def test_an_outcome_worker_says_that_it_is_there_when_it_starts_and_when_its_database_is_back(
    shop: EagerShop, announced: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    end = time.monotonic() + 10
    while not announced:
        assert time.monotonic() < end
        time.sleep(0.01)
    assert announced == [0.0]
    monkeypatch.setattr(Sweeper, "_claim", _away)
    time.sleep(0.5)  # some sweeps; there is nothing to be seen of them
    assert announced == [0.0]
    monkeypatch.undo()
    while len(announced) < 2:
        assert time.monotonic() < end
        time.sleep(0.01)


def _away(_: Sweeper) -> list[object]:
    from atomic_commit import Lost

    raise Lost("the database is away")


def test_while_the_broker_is_away_looks_do_not_count(shop: EagerShop, owed: TransactionRecord) -> None:
    """Or the first message that is lost after its return would be repeated an hour later."""
    looks = "SELECT looks FROM transactions"
    before = shop.query("users", looks)
    with shop.post.refuses():
        for _ in range(2 * len(OWED_PAUSES)):
            shop.time_passes(2)
            shop.sweep()
    assert shop.query("users", looks) == before
    shop.time_passes(2)
    assert shop.sweep() == 1
    assert shop.record("users", owed.id).settled_at


def test_those_that_were_claimed_beside_one_that_could_not_be_sent_are_due_again(
    shop: EagerShop, owed: TransactionRecord, user: int
) -> None:
    grace = shop.add_user("Grace")
    other = shop.begin("users", "remove_user", user_id=grace)
    with shop.post.loses():
        shop.atomic("users").coordinator.decide(other.id, 1, shop.prepare_all(other))
    shop.query("users", "UPDATE transactions SET looks = 12, next_look_at = clock_timestamp()")
    with shop.post.refuses():
        shop.sweep()
    shop.time_passes(2)
    assert shop.sweep() == 2
    assert shop.record("users", owed.id).settled_at
    assert shop.record("users", other.id).settled_at


def test_a_message_dies_after_hours_and_not_after_weeks() -> None:
    assert 2 * AN_HOUR < Limits().message_lifetime <= 6 * AN_HOUR, "clocks may differ by two hours"
    assert Limits(deadline=86400.0).message_lifetime == 2 * 86400.0, "and it outlives the deadline"
