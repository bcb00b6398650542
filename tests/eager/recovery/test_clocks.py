"""A process compares its clock with its database's, and says so where they are far apart; hours do no harm."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from celery.signals import task_revoked, worker_ready, worker_shutting_down
from eager_shop import EagerShop

from atomic_commit import Limits
from atomic_commit.postgres import clocks
from atomic_commit.workers import at_work, expired

MINUTE, HOUR, DAY = 60, 3600, 86400

SetClock = Callable[[float], None]


@pytest.fixture
def our_clock_is_ahead_by(monkeypatch: pytest.MonkeyPatch) -> SetClock:
    """``our_clock_is_ahead_by(seconds)``: of what the machine says, and so the database."""

    def ahead(seconds: float) -> None:
        monkeypatch.setattr(clocks, "time", SimpleNamespace(time=lambda: time.time() + seconds))

    return ahead


@pytest.mark.loud
@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (20 * DAY + 5 * HOUR + MINUTE, "20 d 5 h ahead of its database's"),
        (-30 * DAY - MINUTE, "30 d behind its database's"),
    ],
)
def test_a_clock_that_is_days_off_is_said_where_readiness_is_asked(
    shop: EagerShop, our_clock_is_ahead_by: SetClock, seconds: float, said: str
) -> None:
    our_clock_is_ahead_by(seconds)
    checks = shop.call("users", "GET", "/readyz").problem(503, "unavailable")["checks"]
    assert said in checks["clock"], checks
    assert {result for name, result in checks.items() if name != "clock"} == {"ok"}
    our_clock_is_ahead_by(0)
    assert shop.get("users", "/readyz")["checks"]["clock"] == "ok"


@pytest.mark.parametrize("hours", [-2, 2, 5])
def test_a_clock_that_is_hours_off_works_and_is_logged_once(
    shop: EagerShop, our_clock_is_ahead_by: SetClock, caplog: pytest.LogCaptureFixture, hours: int
) -> None:
    clock = shop.atomic("orders").clock
    with caplog.at_level(logging.INFO, clocks.__name__):
        our_clock_is_ahead_by(hours * (HOUR + MINUTE + 1))
        assert (clock.look(), clock.look()) == (None, None)
        assert shop.get("orders", "/readyz")["checks"]["clock"] == "ok"
        [warning] = caplog.messages
        assert f"{abs(hours)} h {abs(hours)} min {'ahead of' if hours > 0 else 'behind'}" in warning
        our_clock_is_ahead_by(0)
        assert clock.look() is None
        assert "agrees with its database's again" in caplog.messages[-1]


def test_clocks_that_agree_are_not_spoken_of(shop: EagerShop, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, clocks.__name__):
        assert shop.atomic("orders").clock.look() is None
    assert caplog.messages == []


@pytest.mark.loud
def test_a_worker_whose_clock_is_days_off_says_so_at_its_start_and_does_not_count_as_well(
    shop: EagerShop, our_clock_is_ahead_by: SetClock, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_well: list[Callable[[], bool]] = []
    monkeypatch.setattr(at_work, "beat_while_consuming", lambda celery, asked: is_well.append(asked))
    monkeypatch.setattr(at_work, "connect_worker_failpoints", lambda: None)
    monkeypatch.setattr(at_work, "tell_of_the_expired", lambda: None)
    atomic = shop.atomic("products")
    our_clock_is_ahead_by(20 * DAY + MINUTE)
    with nobody_else_hears(worker_ready), nobody_else_hears(worker_shutting_down):
        at_work.run_in_workers(shop.celery, atomic)
        assert is_well[0](), "nothing is known yet"
        worker_ready.send(_BranchWorker(Celery("another", set_as_current=False)))
        assert atomic.clock._thread is None, "another app's worker starts nothing of ours"
        worker_ready.send(_BranchWorker(shop.celery))
        try:
            _wait_until(lambda: "20 d ahead of its database's" in caplog.text)
            assert not is_well[0]()
        finally:
            worker_shutting_down.send("a branch worker")
    our_clock_is_ahead_by(0)
    atomic.clock.look()
    assert is_well[0](), "it takes tasks again"


class _BranchWorker:
    """It reads no queue of outcomes."""

    def __init__(self, celery: Celery) -> None:
        self.app = celery


@contextmanager
def nobody_else_hears(signal: Any) -> Iterator[None]:
    """Whoever listens from within the block, and only until its end."""
    before, signal.receivers = signal.receivers, []
    signal.sender_receivers_cache.clear()
    try:
        yield
    finally:
        signal.receivers = before
        signal.sender_receivers_cache.clear()


def _wait_until(seen: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not seen():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize("deadline", [1.0, 600.0, 4 * HOUR, 10 * DAY])
def test_a_clock_that_is_not_called_wrong_lets_no_message_of_an_undecided_transaction_expire(deadline: float) -> None:
    limits = Limits(deadline=deadline, keep_branch_rows=60 * DAY)
    assert limits.farthest_ahead + deadline <= limits.message_lifetime
    assert limits.farthest_ahead > 0
    assert limits.message_lifetime + limits.farthest_behind <= limits.keep_branch_rows, "its tombstone is there still"
    assert Limits().farthest_ahead > 5 * HOUR
    assert Limits().farthest_behind > 5 * HOUR


def test_who_drops_messages_as_expired_says_so_once_a_minute(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with nobody_else_hears(task_revoked):
        expired.tell_of_the_expired()
        at = (datetime.now(UTC) - timedelta(seconds=1_728_000)).isoformat()
        for _ in range(3):
            task_revoked.send(None, request=SimpleNamespace(expires=at), terminated=False, signum=None, expired=True)
        task_revoked.send(None, request=SimpleNamespace(expires=None), terminated=True, signum=15, expired=False)
        [said] = caplog.messages
        assert "1728000 s ago by this clock" in said
        monkeypatch.setattr(expired, "_PAUSE", 0.0)
        task_revoked.send(None, request=SimpleNamespace(expires=at), terminated=False, signum=None, expired=True)
        assert caplog.messages[-1].startswith("4 messages were dropped")
