"""Answers that are lost or come together, and publishers that are overtaken."""

from __future__ import annotations

import threading
import time
from typing import Any
from uuid import UUID

import psycopg2
import pytest
from eager_shop import EagerShop
from eager_steps import cut_before_the_commit_of_begin, lose_the_answer_to_the_next_commit
from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from atomic_commit import Conflict, TransactionRecord, journal
from atomic_commit.coordinator import coordinator, lost_begin
from atomic_commit.journal.records import Outcome, attempt_of

_WAITING = "SELECT count(*) FROM pg_stat_activity WHERE cardinality(pg_blocking_pids(pid)) > 0"


# ---- how long a client is held


def test_a_client_of_a_committed_transaction_waits_a_moment_for_its_participants_and_no_longer(
    shop: EagerShop, removal: TransactionRecord
) -> None:
    """So that it reads its own writes in every service, and is not held by one that is away."""
    handed_on = shop.prepare_all(removal)
    atomic = shop.atomic("users")
    with shop.post.loses():
        atomic.coordinator.decide(removal.id, 1, handed_on)
        began = time.monotonic()
        seen = atomic.wait(removal.id, 20)
    assert (str(seen.state), seen.settled_at) == ("committed", None)
    assert 0.9 < time.monotonic() - began < 15
    shop.recover()


# ---- a begin whose commit was not answered


def test_a_begin_whose_connection_breaks_before_its_commit_is_known_not_to_have_happened(
    shop: EagerShop, user: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_before_the_commit_of_begin(shop, monkeypatch)
    shop.remove_user(user).problem(503, "conflict-busy")
    assert shop.status_of_user(user) == "active"
    assert shop.query("users", "SELECT state, settled_at IS NOT NULL FROM transactions") == [("aborted", True)]


def test_a_begin_that_was_committed_goes_on_though_its_answer_was_lost(
    shop: EagerShop, user: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = lose_the_answer_to_the_next_commit(monkeypatch)
    shop.remove_user(user).expect(200)
    assert lost
    assert shop.status_of_user(user) is None


def test_a_begin_whose_database_is_back_in_time_is_resolved_before_its_client_is_answered(
    shop: EagerShop, user: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the answer to what resolves it was lost."""
    cut_before_the_commit_of_begin(shop, monkeypatch)
    lost = lose_the_places_taken(monkeypatch, 3)
    shop.remove_user(user).problem(503, "conflict-busy")
    assert len(lost) == 3
    assert shop.status_of_user(user) == "active"
    assert shop.query("users", "SELECT state, settled_at IS NOT NULL FROM transactions") == [("aborted", True)]


def test_a_begin_whose_database_stays_away_is_answered_with_the_url_that_tells(
    shop: EagerShop, user: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_before_the_commit_of_begin(shop, monkeypatch)
    monkeypatch.setattr(lost_begin, "_ASKED_FOR", 0.5)
    lost = lose_the_places_taken(monkeypatch, 1000)
    answer = shop.remove_user(user)
    url = answer.problem(504, "outcome-unknown")["transaction"]["url"]
    assert 1 < len(lost) < 1000
    assert answer.headers["Location"] == url
    assert shop.status_of_user(user) == "active"


def test_a_begin_is_not_denied_because_its_place_could_not_be_taken_at_once(
    shop: EagerShop, user: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    lose_the_answer_to_the_next_commit(monkeypatch)
    waited = lock_the_journal_once(monkeypatch)
    shop.remove_user(user).expect(200)
    assert waited
    assert shop.status_of_user(user) is None


def lock_the_journal_once(patch: pytest.MonkeyPatch) -> list[UUID]:
    """Who takes a place first waits in vain, as while a migration goes on. Returns whose place that was."""
    take_place, waited = journal.take_place, []

    def locked_out(session: Session, transaction: UUID, kind: str) -> bool:
        if waited:
            return take_place(session, transaction, kind)
        waited.append(transaction)
        with Session(session.get_bind()) as other:
            other.execute(text("LOCK TABLE transactions IN SHARE MODE"))
            return take_place(session, transaction, kind)

    patch.setattr(journal, "take_place", locked_out)
    return waited


def lose_the_places_taken(patch: pytest.MonkeyPatch, times: int) -> list[UUID]:
    """So often the place of a begin is taken, and nobody is told. Returns whose, so far."""
    take_place, lost = journal.take_place, []

    def taken_and_lost(session: Session, transaction: UUID, kind: str) -> bool:
        answer = take_place(session, transaction, kind)
        if len(lost) < times:
            session.commit()
            lost.append(transaction)
            raise OperationalError("COMMIT", None, psycopg2.OperationalError("the connection is gone"))
        return answer

    patch.setattr(journal, "take_place", taken_and_lost)
    return lost


# ---- two answers at once


def test_of_two_answers_at_the_same_moment_one_is_the_last_and_settles(
    shop: EagerShop, user: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    removal = shop.begin("users", "remove_user", user_id=user)
    handed_on = shop.prepare_all(removal)
    atomic = shop.atomic("users")
    with shop.post.loses():
        atomic.coordinator.decide(removal.id, 1, handed_on)
    first, second = shop.gids(removal)
    answer = shop.participant_of(second).commit(second)
    shop.participant_of(first).commit(first)
    at_its_end, first_is_over = threading.Event(), threading.Event()

    def meet(point: str, _: Any = None) -> None:
        if point == "acknowledge.before_commit":
            at_its_end.set()
            first_is_over.wait(timeout=30)

    monkeypatch.setattr(coordinator, "reach", meet)
    other = threading.Thread(target=atomic.coordinator.acknowledge, args=(removal.id, 1, second.branch, answer))
    with Session(shop.engines["users"]) as session, session.begin():
        journal.record_settled_branch(session, removal.id, 1, first.branch)
        other.start()
        while not at_its_end.is_set() and not shop.query("users", _WAITING)[0][0]:
            assert other.is_alive()
            time.sleep(0.005)
        journal.record_settled(session, removal.id)
    first_is_over.set()
    other.join()
    assert shop.record("users", removal.id).settled_at is not None


# ---- a publisher that was overtaken


def test_a_publisher_whose_attempt_was_given_up_meanwhile_sends_nothing_and_alarms_nobody(
    shop: EagerShop, user: int
) -> None:
    with shop.post.refuses():
        removal = shop.begin("users", "remove_user", user_id=user)
    with Session(shop.engines["users"]) as session, session.begin():
        journal.mark_unpublished(session, removal.id, 1, 0.0)
    attempts = shop.atomic("users").coordinator.attempts
    with shop.post.loses():
        read_before = attempt_of([shop.record("users", removal.id)])
        with Session(shop.engines["users"]) as session, session.begin():
            journal.record_retry(session, removal.id, 1, [removal.id], None, 0.0, 1.0)
            journal.record_outcomes(session, removal.id, 1, Outcome.ROLLBACK, ())
        shop.post.lost.clear()
        assert attempts.send_again(read_before)
        assert shop.post.lost == []
    shop.recover()
    assert shop.status_of_user(user) is None


# ---- patience


def test_an_attempt_that_met_a_no_does_not_lengthen_the_patience_of_the_next(shop: EagerShop, user: int) -> None:
    removal, granted = shop.begin("users", "remove_user", user_id=user), []
    with shop.post.loses():
        for attempt in range(1, 4):
            record = shop.record("users", removal.id)
            assert record.attempt == attempt
            granted.append(round((record.patience_until - record.read_at).total_seconds()))
            gid = shop.gids(record)[0]
            shop.celery.backend.store_result(str(gid), Conflict("a rival"), "FAILURE")
            shop.atomic("users").coordinator.decide(removal.id, attempt)
            for gid in shop.gids(record):
                answer = shop.participant_of(gid).rollback(gid)
                shop.atomic("users").coordinator.acknowledge(removal.id, attempt, gid.branch, answer)
            shop.time_passes(6)
            shop.sweep()
    assert granted == [5, 5, 5]
    shop.recover(rounds=20)
