"""The sharp edges: the table in section 3 of the design, row by row, as far as one process can show it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from eager_shop import Shop
from sqlalchemy.exc import IntegrityError, InternalError, OperationalError
from sqlalchemy.orm import Session

from atomic_commit import Conflict, Fenced, Impossible, Missing, Refused, TransactionRecord, journal
from atomic_commit.declare import BranchDeclaration
from atomic_commit.names import Gid
from atomic_commit.participant import Answer
from atomic_commit.records import State

EVERYWHERE = ("users", "products", "orders")


def coordinator(shop: Shop) -> Any:
    return shop.atomic("users").coordinator


def state_of(shop: Shop, removal: TransactionRecord) -> tuple[str, int]:
    now = shop.record("users", removal.id)
    return str(now.state), now.attempt


# ---- "The database rows are the only truth. Messages are hints; recovery re-sends whatever a row still needs."


def test_a_transaction_whose_every_message_was_lost_is_finished_by_recovery(
    shop: Shop, removal: TransactionRecord, user: int, order: int
) -> None:
    shop.recover()
    assert shop.status_of_user(user) is None
    assert shop.orders_of(user) == {order: "cancelled"}


def test_a_decision_whose_outcome_messages_were_lost_is_told_again(
    shop: Shop, removal: TransactionRecord, teapot: int
) -> None:
    handed_on = shop.prepare_all(removal)
    with shop.post.loses():
        coordinator(shop).decide(removal.id, 1, handed_on)
    assert len(shop.prepared()) == 2
    shop.time_passes(2)
    assert shop.sweep() == 1
    assert shop.prepared() == []
    assert shop.stock_of(teapot) == 10


def test_messages_that_come_twice_or_in_another_order_change_nothing(shop: Shop, removal: TransactionRecord) -> None:
    handed_on = shop.prepare_all(removal)
    coordinator(shop).decide(removal.id, 1, handed_on)
    everything = shop.everything()
    for gid in reversed(shop.gids(removal)):
        coordinator(shop).acknowledge(removal.id, 1, gid.branch, Answer.COMMITTED)
        assert shop.participant_of(gid).commit(gid) is Answer.COMMITTED
        coordinator(shop).decide(removal.id, 1, handed_on)
        coordinator(shop).decide(removal.id, 1)
        coordinator(shop).look(removal.id)
    assert shop.everything() == everything


def test_an_answer_to_what_was_never_decided_settles_nothing(shop: Shop, removal: TransactionRecord) -> None:
    handed_on = shop.prepare_all(removal)
    for gid in shop.gids(removal):
        coordinator(shop).acknowledge(removal.id, 1, gid.branch, Answer.COMMITTED)
    assert not any(branch.settled_at for branch in shop.record("users", removal.id).branches)
    coordinator(shop).decide(removal.id, 1, handed_on)
    assert shop.prepared() == []


# ---- "A FAILURE or a missing result does not prove that a branch did not prepare"


def forge(shop: Shop, gid: Gid, result: Any, status: str) -> None:
    """Put this into the result backend as the task's result, whatever is there (Celery keeps a first SUCCESS)."""
    shop.celery.AsyncResult(str(gid)).forget()
    shop.celery.backend.store_result(str(gid), result, status)


def test_a_branch_that_prepared_and_then_failed_is_rolled_back_like_the_others(
    shop: Shop, removal: TransactionRecord, order: int
) -> None:
    shop.prepare_all(removal)
    forge(shop, shop.gids(removal)[1], Refused("no_room", "It says."), "FAILURE")
    coordinator(shop).decide(removal.id, 1)
    assert state_of(shop, removal) == ("aborted", 1)
    assert shop.prepared() == []
    assert shop.status_of_order(order) == "open"


def test_a_failure_that_turns_into_a_success_after_the_decision_changes_nothing(
    shop: Shop, removal: TransactionRecord, user: int, order: int
) -> None:
    products = shop.gids(removal)[1]
    handed_on = shop.prepare_all(removal)
    forge(shop, products, Refused("no_room", "It says."), "FAILURE")
    with shop.post.loses():
        coordinator(shop).decide(removal.id, 1)
    forge(shop, products, handed_on, "SUCCESS")
    coordinator(shop).decide(removal.id, 1, handed_on)
    shop.recover()
    assert state_of(shop, removal) == ("aborted", 1)
    assert (shop.status_of_user(user), shop.status_of_order(order)) == ("active", "open")


def test_a_success_without_the_proof_is_silence_and_commits_nothing(
    shop: Shop, removal: TransactionRecord, user: int
) -> None:
    for result in ("ok", None, {}, {"prepared": []}, {"prepared": [str(removal.id)]}):
        for gid in shop.gids(removal):
            forge(shop, gid, result, "SUCCESS")
        coordinator(shop).decide(removal.id, 1)
        coordinator(shop).decide(removal.id, 1, {"prepared": [], "values": removal.values})
        assert state_of(shop, removal) == ("preparing", 1), result
    shop.recover()
    assert state_of(shop, removal) == ("committed", 2)


def test_the_proof_of_an_earlier_attempt_is_no_proof(shop: Shop, removal: TransactionRecord) -> None:
    handed_on = shop.prepare_all(removal)
    give_up(shop, removal)
    begin_next_attempt(shop)
    coordinator(shop).decide(removal.id, 2, handed_on)
    assert state_of(shop, removal) == ("preparing", 2)
    shop.recover()


# ---- "decide takes votes from what the chain handed on and from AsyncResult"


def test_a_chain_that_ended_before_its_last_link_is_decided_by_its_results(
    shop: Shop, removal: TransactionRecord, user: int
) -> None:
    shop.prepare_all(removal)
    shop.time_passes(2)
    shop.sweep()
    assert state_of(shop, removal) == ("committed", 1)
    assert shop.status_of_user(user) is None


def test_a_result_that_is_not_stored_yet_is_not_needed_where_it_was_handed_on(
    shop: Shop, removal: TransactionRecord
) -> None:
    handed_on = shop.prepare_all(removal)
    for gid in shop.gids(removal):
        shop.celery.AsyncResult(str(gid)).forget()
    coordinator(shop).decide(removal.id, 1, handed_on)
    assert state_of(shop, removal) == ("committed", 1)


def test_a_revoked_task_is_a_final_no(shop: Shop, removal: TransactionRecord, user: int) -> None:
    orders, products = shop.gids(removal)
    shop.prepare(orders, shop.handed_on(removal))
    shop.celery.backend.mark_as_revoked(str(products), "terminated")
    coordinator(shop).decide(removal.id, 1)
    assert state_of(shop, removal) == ("aborted", 1)
    assert shop.transaction("users", removal.id)["cause"]["cause"] == "revoked"
    assert shop.status_of_user(user) == "active"


# ---- "A prepare arrives after the abort (late or repeated task): the fence"


def give_up(shop: Shop, record: TransactionRecord) -> None:
    """Patience ends: the attempt is rolled back in every service; the next one is not begun yet."""
    for gid in shop.gids(record):
        shop.celery.AsyncResult(str(gid)).forget()
    shop.time_passes(6)
    shop.sweep()


def begin_next_attempt(shop: Shop) -> None:
    """The pause is over; the chain of the new attempt is lost, so that the test can be its workers."""
    with shop.post.loses():
        shop.time_passes(6)
        shop.sweep()


def test_a_prepare_that_comes_after_the_abort_hits_the_fence(shop: Shop, removal: TransactionRecord) -> None:
    coordinator(shop).abort(removal, ())
    coordinator(shop).send_outcomes(removal.id)
    for gid in shop.gids(removal):
        with pytest.raises(Fenced):
            shop.prepare(gid, {"prepared": [], "values": {"user_id": 1, "quantities": []}})
    assert shop.prepared() == []


def test_a_prepare_that_comes_after_the_commit_hits_the_fence_too(shop: Shop, removal: TransactionRecord) -> None:
    handed_on = shop.prepare_all(removal)
    coordinator(shop).decide(removal.id, 1, handed_on)
    before = shop.rows()
    with pytest.raises(Fenced):
        shop.prepare(shop.gids(removal)[0], shop.handed_on(removal))
    assert shop.rows() == before


INSERT_ROW = "INSERT INTO branch_rows (transaction_id, attempt, branch, kind) VALUES (:id, :attempt, :branch, :kind)"


def row_of(gid: Gid, kind: str) -> dict[str, Any]:
    return {"id": gid.transaction, "attempt": gid.attempt, "branch": gid.branch, "kind": kind}


def test_a_tombstone_waits_while_the_branch_is_prepared(shop: Shop, removal: TransactionRecord) -> None:
    gid = shop.gids(removal)[0]
    shop.prepare(gid, shop.handed_on(removal))
    with shop.engines["orders"].begin() as connection:
        connection.execute(sa.text("SET LOCAL lock_timeout = '100ms'"))
        with pytest.raises(OperationalError, match="lock timeout"):
            connection.execute(sa.text(INSERT_ROW), row_of(gid, "tombstone"))
        connection.rollback()
    assert shop.participant_of(gid).rollback(gid) is Answer.ROLLED_BACK
    rows = shop.query("orders", "SELECT kind FROM branch_rows WHERE transaction_id = :t", t=removal.id)
    assert rows == [("tombstone",)]
    shop.recover()


def test_a_rollback_of_a_branch_that_still_runs_is_asked_again(shop: Shop, removal: TransactionRecord) -> None:
    gid = shop.gids(removal)[0]
    participant = shop.participant_of(gid)
    with shop.locked("orders", INSERT_ROW, **row_of(gid, "done")), pytest.raises(Conflict):
        participant.rollback(gid)
    assert participant.rollback(gid) is Answer.ROLLED_BACK
    shop.recover()


def test_a_rollback_repeated_is_a_rollback(shop: Shop, removal: TransactionRecord) -> None:
    gid = shop.gids(removal)[0]
    shop.prepare(gid, shop.handed_on(removal))
    assert [shop.participant_of(gid).rollback(gid) for _ in range(3)] == [Answer.ROLLED_BACK] * 3
    shop.recover()


# ---- "The same prepare is delivered twice while the first is undecided"


def test_a_prepare_delivered_twice_hands_on_the_first_result_and_runs_once(
    shop: Shop, removal: TransactionRecord, teapot: int
) -> None:
    orders, products = shop.gids(removal)
    first = shop.prepare(orders, shop.handed_on(removal))
    assert shop.prepare(orders, shop.handed_on(removal)) == first
    second = shop.prepare(products, first)
    assert shop.prepare(products, first) == second
    assert len(shop.prepared()) == 2
    coordinator(shop).decide(removal.id, 1, second)
    assert shop.stock_of(teapot) == 10


def test_a_prepare_delivered_twice_whose_first_result_was_lost_votes_no_and_a_new_attempt_commits(
    shop: Shop, removal: TransactionRecord, teapot: int
) -> None:
    orders, _ = shop.gids(removal)
    shop.prepare(orders, shop.handed_on(removal))
    shop.celery.AsyncResult(str(orders)).forget()
    with pytest.raises(Conflict, match="result is not known"):
        shop.prepare(orders, shop.handed_on(removal))
    coordinator(shop).decide(removal.id, 1)
    assert state_of(shop, removal) == ("preparing", 2)
    assert shop.prepared() == []
    shop.recover()
    assert state_of(shop, removal) == ("committed", 2)
    assert shop.stock_of(teapot) == 10


def test_a_prepare_delivered_twice_at_the_same_time_runs_once(
    shop: Shop, removal: TransactionRecord, order: int
) -> None:
    orders = shop.gids(removal)[0]
    together, ends = threading.Barrier(4), []

    def worker() -> None:
        together.wait()
        try:
            ends.append(shop.prepare(orders, shop.handed_on(removal)))
        except Conflict as conflict:
            ends.append(conflict)

    workers = [threading.Thread(target=worker) for _ in range(4)]
    for thread in workers:
        thread.start()
    for thread in workers:
        thread.join()
    handed_on = [end for end in ends if isinstance(end, dict)]
    assert handed_on, ends
    assert all(end == handed_on[0] for end in handed_on), ends
    assert handed_on[0]["values"]["quantities"] == [[1, 4]], ends
    assert shop.prepared() == [str(orders)]
    shop.recover()
    assert shop.status_of_order(order) == "cancelled"


# ---- "Recovery aborts what a slow coordinator then commits. Both must win the same conditional update."


def test_a_coordinator_that_comes_after_recovery_has_given_up_commits_nothing(
    shop: Shop, removal: TransactionRecord, user: int, order: int
) -> None:
    handed_on = shop.prepare_all(removal)
    slow = shop.record("users", removal.id)
    give_up(shop, removal)
    with shop.post.loses():
        coordinator(shop).decide(removal.id, 1, handed_on)
        coordinator(shop).abort(slow, ())
    assert state_of(shop, removal) == ("preparing", 2)
    assert shop.prepared() == []
    assert (shop.status_of_user(user), shop.status_of_order(order)) == ("removing", "open")
    shop.recover()
    assert state_of(shop, removal) == ("committed", 2)


def test_recovery_that_comes_after_the_coordinator_has_committed_aborts_nothing(
    shop: Shop, removal: TransactionRecord, user: int
) -> None:
    handed_on = shop.prepare_all(removal)
    stale = shop.record("users", removal.id)
    with shop.post.loses():
        coordinator(shop).decide(removal.id, 1, handed_on)
        coordinator(shop).abort(stale, ())
    assert state_of(shop, removal) == ("committed", 1)
    shop.recover()
    assert shop.status_of_user(user) is None


def test_a_coordinator_that_comes_after_an_abort_commits_nothing(
    shop: Shop, removal: TransactionRecord, user: int, order: int
) -> None:
    handed_on = shop.prepare_all(removal)
    with shop.post.loses():
        coordinator(shop).abort(shop.record("users", removal.id), ())
        coordinator(shop).decide(removal.id, 1, handed_on)
    assert state_of(shop, removal) == ("aborted", 1)
    shop.recover()
    assert (shop.status_of_user(user), shop.status_of_order(order)) == ("active", "open")


@pytest.mark.parametrize("round", range(4))
def test_of_two_who_decide_at_the_same_moment_one_wins_everywhere(
    shop: Shop, removal: TransactionRecord, user: int, order: int, teapot: int, round: int
) -> None:
    handed_on = shop.prepare_all(removal)
    record = shop.record("users", removal.id)
    together = threading.Barrier(2)

    def meet(decide: Callable[[], None]) -> threading.Thread:
        def run() -> None:
            together.wait()
            decide()

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    rivals = [
        meet(lambda: coordinator(shop).decide(removal.id, 1, handed_on)),
        meet(lambda: coordinator(shop).abort(record, ())),
    ]
    for rival in rivals:
        rival.join()
    shop.recover()
    seen = (shop.status_of_user(user), shop.status_of_order(order), shop.stock_of(teapot))
    expected = {"committed": (None, "cancelled", 10), "aborted": ("active", "open", 6)}
    assert seen == expected[state_of(shop, removal)[0]], shop.tell()


def test_a_yes_from_every_branch_commits_after_the_deadline_too(shop: Shop, removal: TransactionRecord) -> None:
    handed_on = shop.prepare_all(removal)
    shop.deadline_passes()
    coordinator(shop).decide(removal.id, 1, handed_on)
    assert state_of(shop, removal) == ("committed", 1)


def test_silence_after_the_deadline_aborts(shop: Shop, removal: TransactionRecord, user: int, order: int) -> None:
    shop.prepare(shop.gids(removal)[0], shop.handed_on(removal))
    shop.deadline_passes()
    shop.recover()
    assert state_of(shop, removal) == ("aborted", 1)
    cause = shop.transaction("users", removal.id)["cause"]
    assert (cause["branch"], cause["cause"]) == ("products.restock", "silence")
    assert (shop.status_of_user(user), shop.status_of_order(order)) == ("active", "open")


def test_silence_while_nobody_was_there_to_listen_is_not_held_against_the_branches(
    shop: Shop, removal: TransactionRecord
) -> None:
    orders, products = shop.gids(removal)
    handed_on = shop.prepare(orders, shop.handed_on(removal))
    shop.time_passes(3600)  # every outcome worker of the users service was down for an hour, deadline and all
    with shop.post.loses():
        shop.sweep()
    assert state_of(shop, removal) == ("preparing", 1)
    handed_on = shop.prepare(products, handed_on)
    coordinator(shop).decide(removal.id, 1, handed_on)
    assert state_of(shop, removal) == ("committed", 1)


def test_patience_grows_with_every_silent_attempt(shop: Shop, removal: TransactionRecord) -> None:
    granted = []
    with shop.post.loses():
        for attempt in range(1, 4):
            record = shop.record("users", removal.id)
            assert record.attempt == attempt
            granted.append(round((record.patience_until - record.read_at).total_seconds()))
            shop.query(
                "users", "UPDATE transactions SET patience_until = clock_timestamp(), next_look_at = clock_timestamp()"
            )
            shop.sweep()
            for gid in shop.gids(record):
                answer = shop.participant_of(gid).rollback(gid)
                coordinator(shop).acknowledge(removal.id, attempt, gid.branch, answer)
            shop.time_passes(6)
            shop.sweep()
    assert granted == [5, 10, 20]
    shop.recover(rounds=20)


# ---- "A retry reuses an identifier, and an old outcome message hits the new attempt"


def test_outcome_messages_of_the_first_attempt_do_not_touch_the_second(
    shop: Shop, removal: TransactionRecord, order: int
) -> None:
    first = shop.gids(removal)
    shop.prepare_all(removal)
    give_up(shop, removal)
    begin_next_attempt(shop)
    record = shop.record("users", removal.id)
    handed_on = shop.prepare_all(record)
    second = [str(gid) for gid in shop.gids(record)]
    assert shop.prepared() == second
    for gid in first:
        assert shop.participant_of(gid).rollback(gid) is Answer.ROLLED_BACK
        coordinator(shop).acknowledge(removal.id, 1, gid.branch, Answer.ROLLED_BACK)
    coordinator(shop).decide(removal.id, 1, handed_on)
    assert shop.prepared() == second
    assert state_of(shop, removal) == ("preparing", 2)
    coordinator(shop).decide(removal.id, 2, handed_on)
    assert shop.status_of_order(order) == "cancelled"


def test_a_new_attempt_waits_until_the_old_one_is_settled_and_its_locks_are_gone(
    shop: Shop, removal: TransactionRecord
) -> None:
    shop.prepare(shop.gids(removal)[0], shop.handed_on(removal))
    with shop.post.loses():
        shop.time_passes(6)
        shop.sweep()
        for _ in range(3):
            shop.time_passes(6)
            shop.sweep()
    record = shop.record("users", removal.id)
    assert (record.attempt, record.dispatched) == (2, False)
    assert [branch.attempt for branch in record.branches] == [1, 1]
    assert len(shop.prepared()) == 1
    shop.recover()
    assert state_of(shop, removal) == ("committed", 2)


def test_the_right_to_publish_a_new_attempt_cannot_be_claimed_while_an_old_branch_owes_its_answer(
    shop: Shop, removal: TransactionRecord
) -> None:
    """Whoever has read that nothing is owed may have read too early: the claim itself looks again."""
    shop.prepare_all(removal)
    with shop.post.loses():
        give_up(shop, removal)
        first, second = shop.gids(removal)
        assert state_of(shop, removal) == ("preparing", 2)

        def claimed() -> bool:
            with Session(shop.engines["users"]) as session:
                return journal.mark_dispatched(session, removal.id, 2, patience=1, look_after=1)

        assert not claimed()
        coordinator(shop).acknowledge(removal.id, 1, first.branch, shop.participant_of(first).rollback(first))
        assert not claimed()
        coordinator(shop).acknowledge(removal.id, 1, second.branch, shop.participant_of(second).rollback(second))
        assert claimed()
    shop.recover()


# ---- "PREPARE TRANSACTION in a failed transaction answers ROLLBACK and raises nothing"


def run_branch(shop: Shop, function: Callable[..., Any]) -> tuple[Gid, Callable[[], dict[str, Any]]]:
    """A branch that a careless developer of the users service might write."""
    gid = Gid("shop", uuid4(), 1, f"users.{function.__name__}")
    branch = BranchDeclaration(gid.branch, function, ())
    return gid, lambda: shop.atomic("users").participant.prepare(gid, branch, {"prepared": [], "values": {}})


ADD_EVE = sa.text("INSERT INTO users (name, email) VALUES ('Eve', :email)")


def names(shop: Shop) -> list[str]:
    return [name for (name,) in shop.query("users", "SELECT name FROM users ORDER BY id")]


def test_a_branch_that_hides_a_database_error_is_not_taken_for_prepared(shop: Shop) -> None:
    shop.add_user("Ada", email="ada@shop.example")

    def hide(session: Session) -> None:
        with suppress(IntegrityError):
            session.execute(ADD_EVE, {"email": "ada@shop.example"})

    _, prepare = run_branch(shop, hide)
    with pytest.raises(Impossible):
        prepare()
    assert shop.prepared() == []
    assert names(shop) == ["Ada"]


def test_a_branch_may_meet_an_error_inside_a_savepoint(shop: Shop) -> None:
    shop.add_user("Ada", email="ada@shop.example")

    def either(session: Session) -> None:
        try:
            with session.begin_nested():
                session.execute(ADD_EVE, {"email": "ada@shop.example"})
        except IntegrityError:
            session.execute(ADD_EVE, {"email": "eve@shop.example"})

    gid, prepare = run_branch(shop, either)
    assert prepare()["prepared"] == [str(gid)]
    assert names(shop) == ["Ada"]
    assert shop.atomic("users").participant.commit(gid) is Answer.COMMITTED
    assert names(shop) == ["Ada", "Eve"]


def test_a_branch_that_hides_a_database_error_behind_a_rollback_is_not_taken_for_prepared_either(shop: Shop) -> None:
    """As one writes it outside a branch. The branch row must not go with the rollback and the yes stay."""
    shop.add_user("Ada", email="ada@shop.example")

    def hide(session: Session) -> None:
        try:
            session.execute(ADD_EVE, {"email": "ada@shop.example"})
        except IntegrityError:
            session.rollback()
        session.execute(ADD_EVE, {"email": "eve@shop.example"})

    _, prepare = run_branch(shop, hide)
    with pytest.raises((Impossible, InternalError)):
        prepare()
    assert shop.prepared() == []
    assert names(shop) == ["Ada"]


def test_a_branch_that_commits_by_itself_still_changes_nothing_before_the_decision(shop: Shop) -> None:
    """It must not (see ``TransactionKind``). Whether it is told or not, it commits nothing."""

    def meddle(session: Session) -> None:
        session.execute(ADD_EVE, {"email": "eve@shop.example"})
        session.commit()

    gid, prepare = run_branch(shop, meddle)
    with suppress(Impossible):
        prepare()
    assert names(shop) == []
    assert shop.atomic("users").participant.rollback(gid) is Answer.ROLLED_BACK
    assert (names(shop), shop.prepared()) == ([], [])


def test_a_branch_that_rolls_back_by_itself_is_not_taken_for_prepared(shop: Shop) -> None:
    """It must not either. What it has undone in its own eyes must not be committed by a yes."""

    def meddle(session: Session) -> None:
        session.execute(ADD_EVE, {"email": "eve@shop.example"})
        session.rollback()

    _, prepare = run_branch(shop, meddle)
    with pytest.raises(Impossible):
        prepare()
    assert (names(shop), shop.prepared()) == ([], [])


def test_branches_that_fail_leave_no_connection_and_no_lock_behind(shop: Shop, user: int) -> None:
    def fail(session: Session) -> None:
        session.execute(sa.text("UPDATE users SET name = 'nobody'"))
        raise ZeroDivisionError

    for _ in range(30):  # more than the pool has connections
        _, prepare = run_branch(shop, fail)
        with pytest.raises(ZeroDivisionError):
            prepare()
    shop.call("users", "PATCH", f"/users/{user}", {"name": "Grace"}).expect(200)
    assert shop.prepared() == []


def test_a_connection_that_prepared_is_as_good_as_new_for_the_next_one(shop: Shop) -> None:
    """PREPARE ends the transaction behind the driver's back: what comes next on the connection is in one of its own."""
    done = []
    for number in range(25):

        def add(session: Session, number: int = number) -> None:
            session.execute(ADD_EVE, {"email": f"eve{number}@shop.example"})

        gid, prepare = run_branch(shop, add)
        prepare()
        done.append(gid)
    assert names(shop) == []
    for gid in done[::2]:
        shop.atomic("users").participant.commit(gid)
    for gid in done[1::2]:
        shop.atomic("users").participant.rollback(gid)
    assert len(names(shop)) == 13


# ---- ""Prepared transaction does not exist" on commit is ambiguous. The branch row tells"


def test_a_commit_repeated_is_a_commit(shop: Shop, removal: TransactionRecord) -> None:
    handed_on = shop.prepare_all(removal)
    with shop.post.loses():
        coordinator(shop).decide(removal.id, 1, handed_on)
    for gid in shop.gids(removal):
        assert [shop.participant_of(gid).commit(gid) for _ in range(3)] == [Answer.COMMITTED] * 3
    shop.recover()


@pytest.mark.loud
@pytest.mark.leaves("unsettled", "unbalanced")
def test_a_commit_of_a_branch_that_is_not_there_is_put_aside_loudly(
    shop: Shop, removal: TransactionRecord, caplog: pytest.LogCaptureFixture
) -> None:
    orders, products = shop.gids(removal)
    handed_on = shop.prepare(orders, shop.handed_on(removal))
    forged = {"prepared": [str(orders), str(products)], "values": handed_on["values"]}
    coordinator(shop).decide(removal.id, 1, forged)
    transaction = shop.transaction("users", removal.id)
    assert (transaction["state"], transaction["decision"]) == ("quarantined", "committed"), transaction
    assert "products.restock" in transaction["error"]
    assert transaction["settled"] is False
    assert "QUARANTINED" in caplog.text
    assert [t["id"] for t in shop.get("users", "/transactions?state=quarantined")] == [str(removal.id)]
    assert shop.get("users", "/transactions?state=committed") == []
    shop.time_passes(3600)
    assert shop.sweep() == 0, "nobody touches it any more"


@pytest.mark.loud
@pytest.mark.leaves("unsettled", "unbalanced")
def test_a_rollback_of_a_branch_that_is_committed_is_put_aside_loudly(
    shop: Shop, removal: TransactionRecord, caplog: pytest.LogCaptureFixture
) -> None:
    orders, _ = shop.gids(removal)
    shop.prepare(orders, shop.handed_on(removal))
    shop.query_outside("orders", f"COMMIT PREPARED '{orders}'")  # by somebody who thought to help
    coordinator(shop).abort(removal, ())
    coordinator(shop).send_outcomes(removal.id)
    transaction = shop.transaction("users", removal.id)
    assert (transaction["state"], transaction["decision"]) == ("quarantined", "aborted"), transaction
    assert "orders.cancel_user_orders" in transaction["error"]
    assert "QUARANTINED" in caplog.text


def test_only_gids_of_ours_in_this_database_are_ever_touched(shop: Shop, removal: TransactionRecord) -> None:
    with shop.engines["orders"].connect() as connection:
        connection.execute(sa.text("CREATE TEMP TABLE IF NOT EXISTS t (x int)"))
        connection.rollback()
        connection.execute(sa.text("SELECT 1"))
        connection.exec_driver_sql("PREPARE TRANSACTION 'somebody-elses'")
        connection.detach()
        connection.close()
    try:
        shop.recover()
        assert shop.prepared() == ["somebody-elses"]
    finally:
        shop.query_outside("orders", "ROLLBACK PREPARED 'somebody-elses'")


# ---- "begin itself meets a locked row"; what is refused at the door


@pytest.mark.parametrize("how", ["missing", "refused", "locked"])
def test_a_begin_that_is_refused_leaves_nothing_behind(shop: Shop, user: int, how: str) -> None:
    arguments = {"user_id": 4711 if how == "missing" else user}
    if how == "refused":
        shop.begin("users", "remove_user", user_id=user)
    before = shop.everything()
    lock = shop.locked("users", f"SELECT 1 FROM users {'FOR UPDATE' if how == 'locked' else ''}")
    with lock, pytest.raises({"missing": Missing, "refused": Refused, "locked": Conflict}[how]):
        shop.atomic("users").begin("remove_user", arguments)
    assert shop.everything() == before
    shop.recover()


# ---- the coordinator's own change is the last resource


@contextmanager
def orders_that_nobody_can_insert(shop: Shop) -> Iterator[None]:
    """A defect of the orders service: its table refuses every new order."""
    shop.query("orders", "ALTER TABLE orders ADD CONSTRAINT closed CHECK (false) NOT VALID")
    try:
        yield
    finally:
        shop.query("orders", "ALTER TABLE orders DROP CONSTRAINT closed")


def test_a_local_change_that_keeps_failing_aborts_after_its_attempts(shop: Shop, user: int, teapot: int) -> None:
    with orders_that_nobody_can_insert(shop):
        answer = shop.ask_to_place_order(user, {teapot: 1}, Idempotency_Key="k", Prefer="respond-async").expect(202)
        id = answer.json["transaction"]["id"]
        assert shop.transaction("orders", id)["attempt"] == 2
        shop.recover()
    transaction = shop.transaction("orders", id)
    assert (transaction["state"], transaction["attempt"]) == ("aborted", 3), transaction
    assert transaction["cause"]["branch"] == "orders.place_order", transaction
    assert transaction["cause"]["cause"] == "failed", transaction
    shop.ask_to_place_order(user, {teapot: 1}, Idempotency_Key="k").problem(503, "aborted")
    assert (shop.orders_of(user), shop.stock_of(teapot)) == ({}, 10)


def test_a_local_change_that_fails_once_is_tried_again_and_commits(shop: Shop, user: int, teapot: int) -> None:
    with orders_that_nobody_can_insert(shop):
        shop.ask_to_place_order(user, {teapot: 1}, Prefer="respond-async").expect(202)
    shop.recover()
    assert (list(shop.orders_of(user).values()), shop.stock_of(teapot)) == (["open"], 9)


def test_a_local_change_that_meets_a_lock_is_tried_again_and_commits(shop: Shop, user: int, teapot: int) -> None:
    with shop.locked("orders", "LOCK TABLE orders IN ACCESS EXCLUSIVE MODE"):
        id = shop.ask_to_place_order(user, {teapot: 1}, Prefer="respond-async").expect(202).json["transaction"]["id"]
        transaction = shop.transaction("orders", id)
        assert (transaction["state"], transaction["attempt"]) == ("preparing", 2), transaction
        assert transaction["cause"]["cause"] == "conflict", transaction
    shop.recover()
    assert (list(shop.orders_of(user).values()), shop.stock_of(teapot)) == (["open"], 9)


# ---- "One poisoned transaction stops the sweep: each is handled alone, and put aside if need be"


@pytest.mark.loud
@pytest.mark.leaves("undecided")
def test_one_poisoned_transaction_does_not_stop_the_others_and_is_put_aside_in_the_end(
    shop: Shop, user: int, order: int, removal: TransactionRecord
) -> None:
    shop.query("users", "UPDATE transactions SET kind = 'refund_everybody'")
    grace = shop.add_user("Grace")
    healthy = shop.begin("users", "remove_user", user_id=grace)
    for _ in range(3):
        shop.time_passes(8)
        shop.sweep()
    assert state_of(shop, healthy) == ("committed", 1) or state_of(shop, healthy) == ("committed", 2), shop.tell()
    assert "refund_everybody" in shop.transaction("users", removal.id)["error"]
    for _ in range(25):
        shop.time_passes(8)
        shop.sweep()
    assert shop.transaction("users", removal.id)["state"] == "quarantined", shop.tell()
    assert shop.status_of_order(order) == "open"
    assert shop.status_of_user(user) == "removing"


@pytest.mark.loud
def test_a_branch_that_nobody_offers_is_silence_and_is_given_up_at_the_deadline(
    shop: Shop, removal: TransactionRecord, user: int
) -> None:
    """As where the service that offers it runs an older version."""
    shop.query("users", "UPDATE transaction_branches SET name = 'orders.not_yet' WHERE name LIKE 'orders.%'")
    shop.deadline_passes()
    for _ in range(3):
        shop.time_passes(8)
        shop.sweep()
    assert state_of(shop, removal)[0] == "aborted"
    assert shop.status_of_user(user) == "active"
    shop.recover()


def test_two_sweepers_never_hold_the_same_transaction(shop: Shop, removal: TransactionRecord, user: int) -> None:
    grace = shop.add_user("Grace")
    shop.time_passes(2)
    with Session(shop.engines["users"]) as first:
        claimed = [transaction for transaction, _ in journal.claim_due(first, 50, (1.0,))]
        assert claimed == [removal.id]
        assert shop.sweep() == 0
        other = shop.begin("users", "remove_user", user_id=grace)
        shop.time_passes_for("users", other.id, 2)
        assert shop.sweep() == 1, "what nobody holds is looked at"
        first.commit()
    assert shop.sweep() == 0, "what was claimed is put off"
    shop.recover()


def test_a_sweeper_that_dies_with_its_claim_loses_nothing(shop: Shop, removal: TransactionRecord) -> None:
    shop.time_passes(2)
    with Session(shop.engines["users"]) as dying:
        journal.claim_due(dying, 50, (0.5,))
        dying.commit()
    shop.recover()
    assert state_of(shop, removal)[0] == "committed"


def test_more_transactions_than_one_claim_takes_are_all_looked_at(shop: Shop, user: int, teapot: int) -> None:
    for _ in range(55):
        shop.begin("orders", "place_order", user_id=user, lines=[{"product_id": teapot, "quantity": 11}])
    with shop.post.loses():
        shop.time_passes(2)
        assert shop.sweep() >= 55, "more, where the first have become due again meanwhile"
    untouched = "SELECT count(*) FROM transactions WHERE looks = 0 AND attempt = 1"
    assert shop.query("orders", untouched) == [(0,)]
    shop.query("orders", "DELETE FROM transaction_branches")
    shop.query("orders", "DELETE FROM transactions")


def test_a_locked_row_is_a_passing_trouble_for_recovery_and_nothing_to_alarm_anybody(
    shop: Shop, removal: TransactionRecord, user: int
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


def test_a_passing_trouble_after_a_long_wait_does_not_put_a_transaction_aside_for_good(
    shop: Shop, user: int, order: int
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


def test_a_decision_is_told_however_long_the_broker_was_away(shop: Shop, removal: TransactionRecord, user: int) -> None:
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


# ---- "A transaction meets another's soft mark" and "deadlocks": see test_protocol_steps.py and test_refusals.py


def test_a_record_says_what_it_is(shop: Shop, removal: TransactionRecord) -> None:
    assert removal.state is State.PREPARING
    assert isinstance(removal.id, UUID)
    assert [str(gid) for gid in shop.gids(removal)] == [
        f"shop:{removal.id}:1:orders.cancel_user_orders",
        f"shop:{removal.id}:1:products.restock",
    ]
    shop.recover()


def test_a_transaction_that_nobody_accepted_is_impossible(shop: Shop) -> None:
    with pytest.raises(Impossible):
        coordinator(shop).decide(uuid4(), 1)
