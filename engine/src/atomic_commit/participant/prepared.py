"""The participant: prepares, commits and rolls back the branches of one service in that service's database.

Three verbs, each safe to repeat, to reorder and to interrupt anywhere:

``prepare``   phase one. Leaves a prepared transaction behind that holds the branch row and the business changes; the
              coordinator's outcome, repeated until it is answered, finishes it.
``commit``    phase two, yes. Leaves the branch row, now visible, as the proof.
``rollback``  phase two, no. Leaves a tombstone in the branch row's place, so that a late prepare is refused.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import psycopg2.extensions
from sqlalchemy import Connection, Engine, text
from sqlalchemy.event import listen
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import ORMExecuteState, Session, SessionTransaction

from atomic_commit.declare import BranchDeclaration, Values
from atomic_commit.errors import (
    LOCK_NOT_AVAILABLE,
    PREPARED_IS_BUSY,
    UNDEFINED_OBJECT,
    UNIQUE_VIOLATION,
    AtomicCommitError,
    Conflict,
    Fenced,
    Impossible,
    Lost,
    MembersSaidNo,
    sqlstate,
)
from atomic_commit.limits import Limits
from atomic_commit.names import Gid
from atomic_commit.participant.members import Run, run_members
from atomic_commit.postgres.confirmed import Confirmation
from atomic_commit.postgres.database import (
    autocommit,
    defects_named,
    last_warning,
    run_outside_transaction,
    translated_errors,
)
from atomic_commit.postgres.identity import OWN_DATABASE, Identity
from atomic_commit.testing.failpoints import reach
from atomic_commit.votes import Ballot, Cause, no_ballot
from atomic_commit.wire.hand_over import Answer, HandedOn

log = logging.getLogger(__name__)

_BEGIN_WITH_BRANCH_ROW = text(
    # One round trip: the short wait applies to the insert alone, the business statements get the long one.
    "BEGIN;"
    "SELECT set_config('lock_timeout', :short, true);"
    "INSERT INTO branch_rows (transaction_id, attempt, branch, kind)"
    " VALUES (:transaction, :attempt, :branch, 'done');"
    f"SELECT set_config('lock_timeout', :long, true), {OWN_DATABASE}"
)
_INSERT_TOMBSTONE = text(
    "SELECT set_config('lock_timeout', :short, true);"
    "INSERT INTO branch_rows (transaction_id, attempt, branch, kind)"
    " VALUES (:transaction, :attempt, :branch, 'tombstone') ON CONFLICT DO NOTHING"
)
_SELECT_BRANCH_ROW = text(
    "SELECT kind FROM branch_rows WHERE transaction_id = :transaction AND attempt = :attempt AND branch = :branch"
)
_SELECT_PREPARED = text("SELECT true FROM pg_prepared_xacts WHERE gid = :gid AND database = current_database()")


class Participant:
    """The branches of one service on its database (`engine`, which `identity` names)."""

    def __init__(
        self, engine: Engine, identity: Identity, limits: Limits, earlier_result: Callable[[Gid], HandedOn | None]
    ) -> None:
        """`earlier_result(gid)`: what a first run of the branch's task stored in the result backend, or None."""
        self._engine, self._identity, self._limits = engine, identity, limits
        self._earlier_result = earlier_result
        self._confirmation = Confirmation(engine)
        self._autocommit = autocommit(engine)

    def prepare(
        self, gid: Gid, branch: BranchDeclaration, handed_on: HandedOn, meant_for: str | None = None
    ) -> HandedOn:
        """Run the branch's function for every transaction of the attempt in one local transaction, and prepare it.
        Returns what goes to the next link: the values, to which the function has added its own, and the proof that
        makes this result a yes: the gid, with the id of the database in which it is prepared.

        `meant_for`: the id of the database for which the message is meant, if its sender knows it.

        Raises Refused, Conflict, Fenced, Lost, Defect, or what the function raised; MembersSaidNo where several
        transactions share the attempt and some can't be left out. Whatever it raises, a prepared transaction may exist
        (a connection can break after the server prepared): the coordinator rolls back every branch after every no, and
        the sweep repeats that until it is answered.
        """
        with translated_errors(), _own_transaction(self._autocommit) as session:
            reach("prepare.before_branch_row", session)
            try:
                found = self._begin(session, gid)
            except DBAPIError as error:
                return self._duplicate(gid, error)
            database = self._identity.assert_own(found, meant_for)
            reach("prepare.after_branch_row", session)
            members = handed_on["members"]
            with defects_named():
                with _branch_runs(session, branch):
                    run = run_members(session, branch, members)
                    session.flush()
                reach("prepare.after_function", session)
                # Nobody can be left out of changes that an earlier branch has prepared for all.
                goes_on = bool(run.added) and not (run.noes and _changed(handed_on))
                if goes_on:
                    _prepare_transaction(session, gid)
        if not goes_on:
            raise MembersSaidNo(
                {member: self._by_itself(branch, members[member], no, run) for member, no in run.noes.items()}
            )
        reach("prepare.after_prepare")
        return {
            "prepared": {**handed_on["prepared"], str(gid): database},
            "members": {member: {**members[member], **own} for member, own in run.added.items()},
            "dropped": {**handed_on["dropped"], **{member: no.as_cause() for member, no in run.noes.items()}},
            "changed": _changed(handed_on) or not branch.holds,
        }

    def _by_itself(self, branch: BranchDeclaration, values: Values, no: Ballot, run: Run) -> dict[str, Any]:
        """What a member's no amounts to that was said beside others. They may have taken what it lacked, and they are
        undone now: so it runs once more, alone. A refusal that is repeated stands; else it is a conflict, which is
        tried again."""
        if no.cause is not Cause.REFUSED or run.undisturbed:
            return no.as_cause()
        try:
            with translated_errors(), _own_transaction(self._autocommit) as session:
                session.connection().exec_driver_sql("BEGIN")
                with _branch_runs(session, branch):
                    branch.call(session, values)
        except AtomicCommitError as error:
            return no_ballot(branch.name, error).as_cause()
        return replace(no, cause=Cause.CONFLICT).as_cause()

    def commit(self, gid: Gid, meant_for: str | None = None) -> Answer:
        """Commit the prepared branch, or find that it is committed already.

        Raises Conflict (another session is resolving it right now) or Lost: ask again; WrongDatabase where the message
        is meant for another one than this.
        """
        self._identity.must_be(meant_for)
        reach("commit.before_commit_prepared")
        try:
            run_outside_transaction(self._autocommit, "COMMIT PREPARED :gid", gid=str(gid))
        except DBAPIError as error:
            self._unless_gone(error)
            answer = self._answer_without_prepared(gid, Answer.COMMITTED, self._branch_row(gid))
            self._confirmation.wait()  # an earlier try may have done it without its standby
            return answer
        reach("commit.after_commit_prepared")
        return Answer.COMMITTED

    def rollback(self, gid: Gid, meant_for: str | None = None) -> Answer:
        """Roll back the branch if it is prepared, then fence it, so that it can never be prepared later.

        The fence is a tombstone under the branch row's unique key. While a branch runs or is prepared it holds that key
        uncommitted and the insert below waits; once the insert succeeds no such branch exists, and none can succeed any
        more. One that prepared between the two statements is met by a second round.

        Raises Conflict (the branch still runs) or Lost: ask again; WrongDatabase as ``commit`` does.
        """
        self._identity.must_be(meant_for)
        for last_round in (False, True):
            reach("rollback.before_rollback_prepared")
            if self._is_prepared(gid):
                self._rollback_prepared(gid)
                reach("rollback.after_rollback_prepared")
            try:
                answer = self._answer_without_prepared(gid, Answer.ROLLED_BACK, self._fence(gid))
                self._confirmation.wait()  # an earlier try may have left the tombstone without its standby
                return answer
            except DBAPIError as error:
                if sqlstate(error) != LOCK_NOT_AVAILABLE or last_round:
                    raise Conflict(f"{gid} can't be fenced yet: {error.orig}") from error
        raise AssertionError("the second round returns or raises")

    # ---- prepare's steps

    def _begin(self, session: Session, gid: Gid) -> str | None:
        """Begin, and insert the branch row before anything else is read or locked: a duplicate stops right here.
        Returns the id of the database in which all this is, or None if it is not the service's own."""
        waits = {"short": _setting(self._limits.branch_row_timeout), "long": _setting(self._limits.lock_timeout)}
        own = {"installation": str(self._identity.installation), "service": self._identity.service}
        _, database = session.execute(_BEGIN_WITH_BRANCH_ROW, {**_key(gid), **waits, **own}).one()
        return str(database) if database else None

    def _duplicate(self, gid: Gid, error: DBAPIError) -> HandedOn:
        """The branch row exists or is held: this message is a repetition, or it comes too late.

        Held by a first run that is prepared: hand on that run's stored result. If the result was lost with its process
        the values are lost too (they are inside the prepared transaction), so the vote is no and a new attempt begins.
        """
        if sqlstate(error) == UNIQUE_VIOLATION:
            raise Fenced(f"{gid} is over in this database: {self._branch_row(gid)}") from error
        if sqlstate(error) != LOCK_NOT_AVAILABLE:
            raise error
        if earlier := self._earlier_result(gid):
            log.info("%s: delivered again, its first result is handed on", gid)
            return earlier
        raise Conflict(f"{gid} was begun before and its result is not known") from error

    # ---- phase two's steps

    def _is_prepared(self, gid: Gid) -> bool:
        """Whether the branch is prepared right now. Asked first, because most rollbacks meet nothing, and each useless
        ROLLBACK PREPARED would be an ERROR in the server's log."""
        with self._autocommit.connect() as connection:
            return bool(connection.execute(_SELECT_PREPARED, {"gid": str(gid)}).scalar())

    def _rollback_prepared(self, gid: Gid) -> None:
        try:
            run_outside_transaction(self._autocommit, "ROLLBACK PREPARED :gid", gid=str(gid))
        except DBAPIError as error:
            self._unless_gone(error)

    def _unless_gone(self, error: DBAPIError) -> None:
        """Pass on every error but "no such prepared transaction"; a busy one is a Conflict."""
        if sqlstate(error) == PREPARED_IS_BUSY:
            raise Conflict(str(error.orig).strip()) from error
        if sqlstate(error) != UNDEFINED_OBJECT:
            raise error

    def _fence(self, gid: Gid) -> str | None:
        """Insert the tombstone and return the kind of the row that now stands there."""
        with self._engine.begin() as connection:
            connection.execute(_INSERT_TOMBSTONE, {**_key(gid), "short": _setting(self._limits.branch_row_timeout)})
            row: str | None = connection.execute(_SELECT_BRANCH_ROW, _key(gid)).scalar()
            reach("rollback.before_tombstone", connection)
        reach("rollback.after_tombstone")
        return row

    def _branch_row(self, gid: Gid) -> str | None:
        """The kind of the committed branch row, in a snapshot taken after the prepared transaction was seen gone."""
        with self._autocommit.connect() as connection:
            return connection.execute(_SELECT_BRANCH_ROW, _key(gid)).scalar()

    def _answer_without_prepared(self, gid: Gid, wanted: Answer, row: str | None) -> Answer:
        """ "Does not exist" is ambiguous: done before, or never there. The branch row tells which."""
        found = {"done": Answer.COMMITTED, "tombstone": Answer.ROLLED_BACK}.get(row or "")
        if found is wanted:
            return wanted
        log.critical("%s should be %s but its branch row is %s: QUARANTINE", gid, wanted, row or "absent")
        return Answer.IMPOSSIBLE


@contextmanager
def _own_transaction(engine: Engine) -> Iterator[Session]:
    """A session whose transaction is begun and ended by statements of ours, behind the driver's back. (`engine` is in
    ``autocommit``.)

    PREPARE TRANSACTION ends the transaction on the server, which psycopg2 does not notice: believing itself inside one,
    it would run the connection's next statement outside any. In autocommit mode it believes nothing. Whatever leaves
    the block by an exception is rolled back; a connection that can't be is thrown away.
    """
    with engine.connect() as connection, Session(connection) as session:
        listen(session, "after_soft_rollback", _refuse_to_go_on)
        try:
            yield session
        except BaseException:
            _roll_back(connection)
            raise
        if _in_transaction(connection):
            _roll_back(connection)


@contextmanager
def _branch_runs(session: Session, branch: BranchDeclaration) -> Iterator[None]:
    if branch.holds:
        listen(session, "do_orm_execute", _refuse_to_write)
        listen(session, "before_flush", _refuse_to_flush)
    session.info["branch_runs"] = True
    yield
    session.info["branch_runs"] = False


def _refuse_to_write(state: ORMExecuteState) -> None:
    """A later branch may leave a member out. It stays in what a hold has prepared, and that is committed: so a hold
    must have written nothing for it."""
    if state.is_insert or state.is_update or state.is_delete:
        raise Impossible("a hold may not write: declare it as a branch")


def _refuse_to_flush(session: Session, *_: object) -> None:
    if session.new or session.dirty or session.deleted:
        raise Impossible("a hold may not write: declare it as a branch")


def _refuse_to_go_on(session: Session, ended: SessionTransaction) -> None:
    """A branch's own rollback would undo nothing: the transaction is ours, and all that the branch believes undone
    would be prepared. (Rolling back to a savepoint is real, and allowed.)"""
    if session.info.get("branch_runs") and not ended.nested:
        raise Impossible("a branch may not roll back by itself; let it raise")


def _roll_back(connection: Connection) -> None:
    try:
        connection.exec_driver_sql("ROLLBACK")
    except Exception:
        connection.invalidate()


def _in_transaction(connection: Connection) -> bool:
    """Whether the server holds a transaction open on this connection (libpq's own knowledge, no round trip)."""
    driver: Any = connection.connection.driver_connection
    return bool(driver.info.transaction_status != psycopg2.extensions.TRANSACTION_STATUS_IDLE)


def _prepare_transaction(session: Session, gid: Gid) -> None:
    """PREPARE TRANSACTION, and make sure that it happened.

    Issued directly: SQLAlchemy's two-phase API rolls the prepared transaction back when its connection is closed. In a
    transaction that has failed PostgreSQL answers the statement with the tag ROLLBACK and no error, so the tag is
    checked. A warning says that the synchronous standby may not have it, and then it is no promise.
    """
    driver: Any = session.connection().connection.driver_connection
    driver.notices.clear()
    cursor = session.connection().exec_driver_sql("PREPARE TRANSACTION %(gid)s", {"gid": str(gid)}).context.cursor
    if cursor.statusmessage != "PREPARE TRANSACTION":
        raise Impossible(
            f"{gid}: PREPARE TRANSACTION was answered with {cursor.statusmessage}; the branch hid a database error"
        )
    if warning := last_warning(driver):
        raise Lost(f"{gid} is not known to stay prepared: {warning}")


def _changed(handed_on: HandedOn) -> bool:
    """Whether any branch so far was more than a hold. (Who does not say so knows no holds.)"""
    return handed_on.get("changed", bool(handed_on["prepared"]))


def _key(gid: Gid) -> dict[str, Any]:
    return {"transaction": gid.transaction, "attempt": gid.attempt, "branch": gid.branch}


def _setting(seconds: float) -> str:
    return f"{round(seconds * 1000)}ms"
