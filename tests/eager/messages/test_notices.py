"""Who waits is told by the database when it is over, and learns it without being told as well."""

from __future__ import annotations

import select
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from eager_shop import EagerShop

from atomic_commit import TransactionRecord
from atomic_commit.coordinator import wait
from atomic_commit.postgres import notices
from atomic_commit.postgres.notices import Notices

LISTENERS = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND datname = current_database()"
#: Seconds: longer than any notice takes, shorter than whoever is not told waits below.
SOON = 10


@pytest.fixture
def seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is not told learns it late."""
    monkeypatch.setattr(wait, "_HEARING", 60.0)


@pytest.fixture
def waiting(shop: EagerShop, removal: TransactionRecord, monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Thread]:
    """A client that waits for the removal, listens, has looked in vain, and does not look again before it is told."""
    came, rests, wake, wait = threading.Event(), threading.Event(), Notices.wake, Notices.wait

    def wakes_who_looks(self: Notices) -> None:
        wake(self)
        came.set()

    def looks_then_rests(self: Notices, seconds: float, *, wakes: bool) -> bool:
        if wakes and came.is_set() and not select.select([self._woken], [], [], 0)[0]:
            rests.set()
        return wait(self, seconds, wakes=wakes)

    monkeypatch.setattr(Notices, "wake", wakes_who_looks)
    monkeypatch.setattr(Notices, "wait", looks_then_rests)
    client = threading.Thread(target=shop.atomic("users").wait, args=(removal.id, 50))
    client.start()
    assert rests.wait(SOON)
    assert shop.query("users", LISTENERS)
    yield client
    client.join()


@pytest.mark.usefixtures("seldom")
def test_a_client_is_told_when_the_last_participant_has_answered(
    shop: EagerShop, removal: TransactionRecord, waiting: threading.Thread
) -> None:
    shop.atomic("users").coordinator.decide(removal.id, 1, shop.prepare_all(removal))
    waiting.join(SOON)
    assert not waiting.is_alive()


@pytest.mark.usefixtures("seldom")
def test_a_client_is_told_when_it_is_aborted(
    shop: EagerShop, removal: TransactionRecord, waiting: threading.Thread
) -> None:
    shop.abort("users", removal)
    waiting.join(SOON)
    assert not waiting.is_alive()
    shop.recover()


@pytest.mark.loud
def test_whoever_is_no_more_told_looks_by_itself_and_listens_again(
    shop: EagerShop, removal: TransactionRecord, waiting: threading.Thread
) -> None:
    [(before,)] = shop.query("users", LISTENERS)
    shop.query_outside("users", f"SELECT pg_terminate_backend({before})")
    while not (after := shop.query("users", LISTENERS)) or after == [(before,)]:
        assert waiting.is_alive()
        time.sleep(0.005)
    shop.abort("users", removal)
    waiting.join(SOON)
    assert not waiting.is_alive()
    shop.recover()


@pytest.mark.loud
def test_where_nobody_can_listen_everybody_looks(
    shop: EagerShop, removal: TransactionRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Notices, "listen", lambda self: False)
    shop.abort("users", removal)
    began = time.monotonic()
    assert shop.atomic("users").wait(removal.id, 50).over
    assert time.monotonic() - began < SOON
    shop.recover()


# ---- "a long quiet API holds no horizon back"

#: More than the sockets between server and client take; what a busy shop says in half an hour, said at once.
FLOOD = "SELECT pg_notify('atomic_commit_over', repeat('x', 7900) || n) FROM generate_series(1, 4000) AS n"
HELD_BACK = (
    "SELECT pid, wait_event, backend_xmin FROM pg_stat_activity WHERE datname = current_database()"
    " AND pid <> pg_backend_pid() AND (backend_xmin IS NOT NULL OR wait_event = 'ClientWrite')"
)


def wait_until(shop: EagerShop, question: str, wanted: Callable[[list[tuple[Any, ...]]], bool], within: float) -> None:
    end = time.monotonic() + within
    while not wanted(seen := shop.query("users", question)):
        assert time.monotonic() < end, f"{question}: {seen}"
        time.sleep(0.05)


def test_an_api_for_which_nobody_waits_listens_to_nothing_and_holds_no_snapshot(
    shop: EagerShop, removal: TransactionRecord
) -> None:
    assert shop.atomic("users").wait(removal.id, 0.2) is not None
    shop.query("users", FLOOD)
    wait_until(shop, LISTENERS, lambda listeners: not listeners, within=SOON)
    wait_until(shop, HELD_BACK, lambda held: not held, within=SOON)
    shop.query("users", FLOOD)
    assert not shop.query("users", HELD_BACK), "nobody is told, so nobody has to be waited for"
    shop.recover()


def test_who_waits_again_after_a_long_quiet_time_is_told_again(
    shop: EagerShop, removal: TransactionRecord, request: pytest.FixtureRequest
) -> None:
    assert shop.atomic("users").wait(removal.id, 0.2) is not None
    wait_until(shop, LISTENERS, lambda listeners: not listeners, within=SOON)
    request.getfixturevalue("seldom")
    client = request.getfixturevalue("waiting")
    shop.abort("users", removal)
    client.join(SOON)
    assert not client.is_alive()
    shop.recover()


def test_a_listener_that_is_frozen_is_ended_by_the_server(
    shop: EagerShop, removal: TransactionRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that is stopped reads nothing, and can do nothing about it."""
    monkeypatch.setattr(notices, "_READS_WITHIN", 1000)
    frozen = Notices(shop.engines["users"])
    assert frozen.listen()
    pid = frozen._connection.info.backend_pid
    shop.query("users", FLOOD)
    wait_until(shop, f"SELECT 1 FROM pg_stat_activity WHERE pid = {pid}", lambda there: not there, within=30)
    frozen.close()
    shop.recover()


def test_after_a_look_that_waited_long_for_a_standby_the_next_one_is_soon(
    shop: EagerShop, removal: TransactionRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    rests: list[float] = []
    wake, pause = wait.DecisionWatch._wake, wait.DecisionWatch._pause

    def waits_for_its_standby(watch: wait.DecisionWatch, asked: Any) -> None:
        time.sleep(0.2)  # as long as it takes
        wake(watch, asked)

    def rests_so_long(watch: wait.DecisionWatch, least: float, longest: float) -> None:
        rests.append(least)
        pause(watch, least, longest)

    monkeypatch.setattr(wait.DecisionWatch, "_wake", waits_for_its_standby)
    monkeypatch.setattr(wait.DecisionWatch, "_pause", rests_so_long)
    shop.atomic("users").wait(removal.id, 1.5)
    assert rests
    assert max(rests) <= wait._AWAY
    shop.recover()
