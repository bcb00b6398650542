"""What a client is told is true, whatever goes wrong in the moment of accepting and right after it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import psycopg2
import pytest
import sqlalchemy as sa
from eager_shop import Answer, EagerShop
from eager_wire import Wire, wired
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from atomic_commit import AtomicCommit, Conflict, IdempotencyKey, Lost, TransactionRecord, journal
from atomic_commit.coordinator import begin, lost_begin
from atomic_commit.coordinator.attempts import Attempts
from atomic_commit.journal import records
from atomic_commit.journal.records import Outcome
from atomic_commit.wire.messages import Messages
from http_api.problem_types import PROBLEM_TYPES
from tests.installation import INSTALLATION
from users_service.remove_user import remove_user

KEY = {"Idempotency_Key": "one-removal"}
with_and_without_a_key = pytest.mark.parametrize("said", [{}, KEY], ids=["without-a-key", "with-a-key"])


@pytest.fixture
def wire(shop: EagerShop, monkeypatch: pytest.MonkeyPatch) -> Iterator[Wire]:
    """What the users service reaches its database by."""
    monkeypatch.setattr(lost_begin, "_ASKED_FOR", 0.5)
    with wired(shop, "users") as wire:
        yield wire


def gone() -> OperationalError:
    return OperationalError("SELECT", None, psycopg2.OperationalError("the connection is gone"))


def url_told(answer: Answer) -> str:
    """Where a client that was told nothing certain is to ask."""
    told = answer.problem(504, "outcome-unknown")["transaction"]
    assert answer.headers["Location"] == told["url"] == f"/transactions/{told['id']}"
    return str(told["url"])


# ---- whether it was accepted


@with_and_without_a_key
def test_one_that_is_committed_while_its_database_goes_away_for_long_is_never_said_not_to_be(
    shop: EagerShop, user: int, wire: Wire, said: dict[str, str]
) -> None:
    """The connection is cut after COMMIT, and there is no other for longer than it is asked for."""
    wire.cut_at("COMMIT", reached=True, stays_away=True)
    answer = shop.remove_user(user, **said)
    wire.comes_back()
    assert wire.cuts == 1
    url = url_told(answer)
    shop.recover()
    assert shop.get("users", url)["state"] == "committed"
    assert shop.status_of_user(user) is None
    if said:
        assert shop.remove_user(user, **said).expect(200).json["transaction"]["url"] == url


@with_and_without_a_key
def test_one_that_is_not_committed_while_its_database_goes_away_for_long_changes_nothing(
    shop: EagerShop, user: int, wire: Wire, said: dict[str, str]
) -> None:
    wire.cut_at("COMMIT", reached=False, stays_away=True)
    answer = shop.remove_user(user, **said)
    wire.comes_back()
    shop.call("users", "GET", url_told(answer)).problem(404, "not-found")
    assert shop.status_of_user(user) == "active"
    shop.remove_user(user, **said).expect(200)


def test_whatever_else_goes_wrong_with_the_question_whether_it_was_accepted_is_no_answer_to_it(
    shop: EagerShop, user: int, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> bool:
        raise ValueError("nobody expects this")

    monkeypatch.setattr(journal, "take_place", broken)
    wire.cut_at("COMMIT", reached=True)
    url = url_told(shop.remove_user(user))
    shop.recover()
    assert shop.get("users", url)["state"] == "committed"


def test_a_404_for_one_that_nobody_knows_of_yet_may_become_its_answer_and_is_not_said_to_be_final(
    shop: EagerShop, user: int, wire: Wire
) -> None:
    """Its commit waits for a synchronous standby: nobody sees it, and its place can't be taken."""
    with standby_is_away(shop):
        wire.cut_at("COMMIT", reached=True, answered=False)
        answer = shop.remove_user(user)
        url = url_told(answer)
        shop.call("users", "GET", url).problem(404, "not-found")
    for _ in range(200):
        if shop.call("users", "GET", url).status == 200:
            break
        shop.query("users", "SELECT pg_sleep(0.05)")
    assert shop.get("users", url)["decision"] is None
    for words in (answer.json["detail"], PROBLEM_TYPES["outcome-unknown"].explanation):
        assert "404" in words
        assert "404 means that it" not in words
        assert "until" in words or "as yet" in words
    shop.recover()
    assert shop.status_of_user(user) is None


@contextlib.contextmanager
def standby_is_away(shop: EagerShop) -> Iterator[None]:
    """Commits of the users service wait for a standby that is not there."""
    shop.query_outside("orders", "SET synchronous_commit = local")
    shop.query_outside("orders", "ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
    shop.query_outside("orders", "SELECT pg_reload_conf()")
    for _ in range(200):
        if shop.query("orders", "SHOW synchronous_standby_names") == [("nobody",)]:
            break
    try:
        yield
    finally:
        shop.query_outside("orders", "ALTER SYSTEM RESET synchronous_standby_names")
        shop.query_outside("orders", "SELECT pg_reload_conf()")
        shop.query_outside("orders", "RESET synchronous_commit")


# ---- whose key it is


def lose_the_second_look_for_a_key(patch: pytest.MonkeyPatch) -> list[IdempotencyKey]:
    """The first one finds nothing (so did it, when both came), the second one can't be made. Returns both."""
    read_by_key, looks = records.read_by_key, []

    def look(session: Session, key: IdempotencyKey) -> TransactionRecord | None:
        looks.append(key)
        if len(looks) == 1:
            return None
        if len(looks) == 2:
            raise gone()
        return read_by_key(session, key)

    patch.setattr(records, "read_by_key", look)
    return looks


def test_a_key_whose_owner_cannot_be_read_is_not_said_to_have_done_nothing(
    shop: EagerShop, user: int, teapot: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An order changes nothing when it begins, so that it is the key alone which keeps the second one out."""
    first = shop.ask_to_place_order(user, {teapot: 1}, **KEY).expect(201).json
    looks = lose_the_second_look_for_a_key(monkeypatch)
    answer = shop.ask_to_place_order(user, {teapot: 1}, **KEY)
    assert len(looks) == 2
    assert "same key" in answer.problem(504, "outcome-unknown")["detail"]
    assert shop.ask_to_place_order(user, {teapot: 1}, **KEY).expect(201).json == first


def test_one_that_is_refused_because_of_its_own_first_try_is_not_said_to_be_refused(
    shop: EagerShop, user: int, order: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its user is being removed, by the very request that it repeats."""
    with shop.post.loses():
        first = shop.remove_user(user, Prefer="respond-async", **KEY).expect(202).json
    lose_the_second_look_for_a_key(monkeypatch)
    answer = shop.remove_user(user, **KEY)
    assert "earlier one" in answer.problem(503, "unavailable")["detail"]
    again = shop.remove_user(user, Prefer="respond-async", **KEY).expect(202).json
    assert again["transaction"]["id"] == first["transaction"]["id"]
    shop.recover()


def test_a_refusal_stands_though_the_transaction_in_the_way_cannot_be_read(
    shop: EagerShop, removal: TransactionRecord, user: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*_: Any) -> None:
        raise gone()

    with monkeypatch.context() as patch:
        patch.setattr(AtomicCommit, "find", lost)
        problem = shop.remove_user(user).problem(409, "refused")
    assert problem["transaction"] == {"id": str(removal.id), "url": f"/transactions/{removal.id}"}
    shop.recover()


# ---- once it is accepted


def test_one_that_is_accepted_is_said_to_be_though_the_broker_and_every_connection_are_gone(
    shop: EagerShop, user: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker does not take it, and to note that nobody has a connection left: the pool is used up by others."""
    with shop.apps["users"].app_context():
        engine = shop.apps["users"].extensions["sqlalchemy"].engine
    monkeypatch.setattr(engine.pool, "_timeout", 0.1)
    held: list[sa.Connection] = []

    def take_the_rest(point: str, session: Any = None) -> None:
        if point == "begin.after_commit":
            with contextlib.suppress(sa.exc.TimeoutError):
                while True:
                    held.append(engine.connect())

    monkeypatch.setattr(begin, "reach", take_the_rest)
    with shop.post.refuses():
        answer = shop.remove_user(user, Prefer="respond-async")
    assert len(held) > 1
    for connection in held:
        connection.close()
    url = answer.expect(202).headers["Location"]
    shop.recover()
    assert shop.get("users", url)["state"] == "committed"


@pytest.mark.loud
def test_one_that_is_accepted_is_said_to_be_whatever_goes_wrong_with_sending_it(
    shop: EagerShop, user: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> bool:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(Messages, "send_attempt", fail)
        url = shop.remove_user(user, Prefer="respond-async").expect(202).headers["Location"]
    shop.recover()
    assert shop.get("users", url)["state"] == "committed"


@pytest.fixture
def poisoned(shop: EagerShop, monkeypatch: pytest.MonkeyPatch) -> Iterator[TransactionRecord]:
    """A removal that waits, comes too late, and can't be aborted while the test goes on."""
    removal = shop.begin("users", "remove_user", user_id=shop.add_user("Grace"))
    shop.time_passes(6)
    shop.sweep()
    shop.deadline_passes()
    shop.time_passes(6)
    assert shop.record("users", removal.id).late
    assert shop.record("users", removal.id).waiting

    def fail(*_: Any) -> None:
        raise ZeroDivisionError("this one can't be aborted")

    with monkeypatch.context() as patch:
        kinds = shop.atomic("users").coordinator._kinds
        patch.setitem(kinds, "remove_user", replace(remove_user, abort=fail))
        yield removal
    shop.recover()
    assert str(shop.record("users", removal.id).state) == "aborted"


@pytest.mark.loud
def test_what_goes_wrong_with_somebody_else_is_no_answer_to_one_that_is_accepted(
    shop: EagerShop, user: int, poisoned: TransactionRecord, caplog: pytest.LogCaptureFixture
) -> None:
    answer = shop.remove_user(user, Prefer="respond-async").expect(202)
    assert "this one can't be aborted" in caplog.text
    assert answer.json["transaction"]["id"] != str(poisoned.id)


@pytest.mark.loud
def test_what_goes_wrong_with_somebody_else_is_no_failure_of_the_one_that_decides(
    shop: EagerShop, removal: TransactionRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    handed_on = shop.prepare_all(removal)

    def fail(*_: Any) -> None:
        raise ZeroDivisionError("who waits can't go")

    with monkeypatch.context() as patch:
        patch.setattr(Attempts, "next", fail)
        assert shop.atomic("users").coordinator.decide(removal.id, 1, handed_on) is Outcome.COMMIT


# ---- a database that only reads


@contextlib.contextmanager
def only_reads(shop: EagerShop, service: str) -> Iterator[None]:
    """Its database is what a failover has left behind, until somebody promotes it or its name leads elsewhere."""
    [(name,)] = shop.query(service, "SELECT current_database()")
    shop.query_outside("users", f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    forget_connections(shop, service)
    try:
        yield
    finally:
        shop.query_outside("users", f'ALTER DATABASE "{name}" RESET default_transaction_read_only')
        forget_connections(shop, service)


def forget_connections(shop: EagerShop, service: str) -> None:
    with shop.apps[service].app_context():
        shop.apps[service].extensions["sqlalchemy"].engine.dispose()
    shop.engines[service].dispose()


@with_and_without_a_key
def test_a_coordinator_whose_database_only_reads_accepts_nothing_says_so_and_is_read(
    shop: EagerShop, user: int, order: int, said: dict[str, str]
) -> None:
    before = shop.everything()
    with only_reads(shop, "users"):
        shop.remove_user(user, **said).problem(503, "unavailable")
        shop.call("users", "PATCH", f"/users/{user}", {"name": "Grace"}).problem(503, "unavailable")
        shop.call("users", "POST", "/users", {"name": "Eve", "email": "e@shop.example"}).problem(503, "unavailable")
        assert shop.get("users", f"/users/{user}")["status"] == "active"
        assert shop.get("users", "/transactions") == []
        assert len(shop.get("users", "/users")) == 1
    assert shop.everything() == before
    shop.remove_user(user, **said).expect(200)


def test_what_was_accepted_before_its_database_only_read_is_finished_afterwards(
    shop: EagerShop, removal: TransactionRecord, user: int, caplog: pytest.LogCaptureFixture
) -> None:
    handed_on = shop.prepare_all(removal)
    decide = shop.celery.tasks[f"{INSTALLATION}.users.decide"]
    with only_reads(shop, "users"), pytest.raises(Lost):
        decide(handed_on, transaction=str(removal.id), attempt=1)
    assert shop.record("users", removal.id).error is None
    shop.recover()
    assert shop.status_of_user(user) is None


def test_a_participant_whose_database_only_reads_is_asked_again_until_it_writes(
    shop: EagerShop, removal: TransactionRecord, user: int, order: int
) -> None:
    """It is away, which is no failure of the transaction."""
    orders, _ = shop.gids(removal)
    with only_reads(shop, "orders"):
        with pytest.raises(Lost):
            shop.prepare(orders, shop.handed_on(removal))
        shop.atomic("users").coordinator.decide(removal.id, 1)
        with pytest.raises(Conflict):
            shop.participant_of(orders).rollback(orders)
    record = shop.record("users", removal.id)
    assert (record.attempt, record.failed_attempts, (record.cause or {})["cause"]) == (2, 0, "lost")
    shop.recover()
    assert shop.status_of_user(user) is None
