"""The participant: prepares, commits and rolls back the branches of one service in that service's database.

Three verbs, each safe to repeat, to reorder and to interrupt anywhere:

``prepare``   phase one. Leaves a prepared transaction behind that holds the branch row and the business changes; the
              coordinator's outcome, repeated until it is answered, finishes it.
``commit``    phase two, yes. Leaves the branch row, now visible, as the proof.
``rollback``  phase two, no. Leaves a tombstone in the branch row's place, so that a late prepare is refused.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

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
from atomic_commit.participant.epochs import NOT_KNOWN_YET, epoch
from atomic_commit.participant.members import Run, run_members
from atomic_commit.participant.own_transaction import branch_runs, has_failed, own_transaction
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

_BEGIN_WITH_BRANCH_ROW = (
    # One round trip: the short wait applies to the insert alone, the business statements get the long one.
    "BEGIN;"
    "SELECT set_config('lock_timeout', :short, true);"
    "INSERT INTO branch_rows (transaction_id, attempt, branch, kind, coordinated_by, members)"
    " VALUES (:transaction, :attempt, :branch, 'done', :coordinated_by, CAST(:members AS jsonb));"
    f"SELECT set_config('lock_timeout', :long, true), {OWN_DATABASE}, "
)
_INSERT_FENCE = text(
    "SELECT set_config('lock_timeout', :short, true);"
    "INSERT INTO branch_rows (transaction_id, attempt, branch, kind, coordinated_by, members)"
    " VALUES (:transaction, :attempt, :branch, :kind, :coordinated_by, CAST(:members AS jsonb)) ON CONFLICT DO NOTHING"
)
_KEEP_MEMBERS = (
    "UPDATE branch_rows SET members = CAST(%(members)s AS jsonb)"
    " WHERE transaction_id = %(transaction)s AND attempt = %(attempt)s AND branch = %(branch)s;"
)
_SELECT_BRANCH_ROW = text(
    "SELECT kind FROM branch_rows WHERE transaction_id = :transaction AND attempt = :attempt AND branch = :branch"
)
_SELECT_PREPARED = text("SELECT true FROM pg_prepared_xacts WHERE gid = :gid AND database = current_database()")


class Participant:
    """The branches of one service on its database (`engine`, which `identity` names)."""

    def __init__(
        self,
        engine: Engine,
        identity: Identity,
        limits: Limits,
        earlier_result: Callable[[Gid], HandedOn | None],
        holds: Collection[str] = (),
        finds_out: str = "false",
    ) -> None:
        """`earlier_result(gid)`: what a first run of the branch's task stored in the result backend, or None. `holds`:
        the names of the branches that change nothing. `finds_out`: SQL, whether a coordinator on the same database does
        not know yet what it had decided."""
        self._begin_with_branch_row = text(_BEGIN_WITH_BRANCH_ROW + finds_out)
        self._engine, self._identity, self._limits = engine, identity, limits
        self._earlier_result, self._holds = earlier_result, holds
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
        with translated_errors(), own_transaction(self._autocommit) as session:
            reach("prepare.before_branch_row", session)
            members = handed_on["members"]
            given = {member: branch.given(values) for member, values in members.items()}
            try:
                found = self._begin(session, gid, given)
            except DBAPIError as error:
                return self._duplicate(gid, error)
            database = self._identity.assert_own(found, meant_for)
            reach("prepare.after_branch_row", session)
            with defects_named():
                with branch_runs(session, branch):
                    run = run_members(session, branch, members)
                    session.flush()
                reach("prepare.after_function", session)
                # Nobody can be left out of changes that an earlier branch has prepared for all.
                goes_on = bool(run.added) and not (run.noes and _changed(handed_on))
                if goes_on:
                    kept = {member: {**given[member], **own} for member, own in run.added.items()}
                    _prepare_transaction(session, gid, None if kept == given else kept)
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
            with translated_errors(), own_transaction(self._autocommit) as session:
                session.connection().exec_driver_sql("BEGIN")
                with branch_runs(session, branch):
                    branch.call(session, values)
        except AtomicCommitError as error:
            return no_ballot(branch.name, error).as_cause()
        return replace(no, cause=Cause.CONFLICT).as_cause()

    def commit(self, gid: Gid, meant_for: str | None = None, sent_in: str | None = None) -> Answer:
        """Commit the prepared branch, or find that it is committed already; or do nothing, because it was sent in
        another epoch than the present one. (A connection that leads to one life does not lead to another: so the epoch
        is read on the very connection that commits.)

        Raises Conflict (another session is resolving it right now) or Lost: ask again; WrongDatabase where the message
        is meant for another one than this.
        """
        self._identity.must_be(meant_for)
        reach("commit.before_commit_prepared")
        try:
            with translated_errors(also_conflicts=False), self._autocommit.connect() as connection:
                if epoch(connection, gid.coordinator) != sent_in:
                    log.warning("commit of %s is void: it was sent in another epoch", gid)
                    return Answer.VOID
                run_outside_transaction(connection, "COMMIT PREPARED :gid", gid=str(gid))
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

    def _begin(self, session: Session, gid: Gid, given: Mapping[str, Values]) -> str | None:
        """Begin, and insert the branch row before anything else is read or locked: a duplicate stops right here. The
        row keeps what is `given` for each member: where the coordinator forgets, nobody else knows.
        Returns the id of the database in which all this is, or None if it is not the service's own.

        Raises Conflict while changes may be missing here that were decided, and of which other participants have let go
        already: who works on this database now would not see them, and they come later all the same.
        """
        waits = {"short": _setting(self._limits.branch_row_timeout), "long": _setting(self._limits.lock_timeout)}
        own = {"installation": str(self._identity.installation), "service": self._identity.service}
        row = {**_key(gid), "coordinated_by": gid.kind, "members": json.dumps(given)}
        _, database, finds_out = session.execute(self._begin_with_branch_row, {**row, **waits, **own}).one()
        if finds_out:
            raise Conflict(NOT_KNOWN_YET)
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
            with translated_errors(also_conflicts=False), self._autocommit.connect() as connection:
                run_outside_transaction(connection, "ROLLBACK PREPARED :gid", gid=str(gid))
        except DBAPIError as error:
            self._unless_gone(error)

    def _unless_gone(self, error: DBAPIError) -> None:
        """Pass on every error but "no such prepared transaction"; a busy one is a Conflict."""
        if sqlstate(error) == PREPARED_IS_BUSY:
            raise Conflict(str(error.orig).strip()) from error
        if sqlstate(error) != UNDEFINED_OBJECT:
            raise error

    def _fence(self, gid: Gid, kind: str = "tombstone", members: str | None = None) -> str | None:
        """Insert the row that keeps a late prepare out, and return the kind of the one that now stands there."""
        with self._engine.begin() as connection:
            fence = {**_key(gid), "coordinated_by": gid.kind, "kind": kind, "members": members}
            connection.execute(_INSERT_FENCE, {**fence, "short": _setting(self._limits.branch_row_timeout)})
            row: str | None = connection.execute(_SELECT_BRANCH_ROW, _key(gid)).scalar()
            reach("rollback.before_tombstone", connection)
        reach("rollback.after_tombstone")
        return row

    def _branch_row(self, gid: Gid) -> str | None:
        """The kind of the committed branch row, in a snapshot taken after the prepared transaction was seen gone."""
        with self._autocommit.connect() as connection:
            return connection.execute(_SELECT_BRANCH_ROW, _key(gid)).scalar()

    def _stand_in_for_hold(self, gid: Gid) -> str | None:
        """This database has forgotten a hold, of which nothing is missing: it changed nothing. A row, of nobody, keeps
        a late prepare out, which would hold something for nobody. Returns the kind of the row that now stands there."""
        log.warning("%s is forgotten; it was a hold, of which nothing is missing", gid)
        try:
            return self._fence(gid, "done", "{}")
        except DBAPIError as error:
            if sqlstate(error) != LOCK_NOT_AVAILABLE:
                raise
            raise Conflict(f"{gid} is being prepared: {error.orig}") from error

    def _answer_without_prepared(self, gid: Gid, wanted: Answer, row: str | None) -> Answer:
        """ "Does not exist" is ambiguous: done before, or never there. The branch row tells which."""
        if row is None and wanted is Answer.COMMITTED and gid.branch in self._holds:
            row = self._stand_in_for_hold(gid)
        found = {"done": Answer.COMMITTED, "tombstone": Answer.ROLLED_BACK}.get(row or "")
        if found is wanted:
            return wanted
        log.critical("%s should be %s but its branch row is %s: QUARANTINE", gid, wanted, row or "absent")
        return Answer.IMPOSSIBLE


def _prepare_transaction(session: Session, gid: Gid, members: Mapping[str, Values] | None) -> None:
    """PREPARE TRANSACTION, and make sure that it happened; in the same round trip the branch row learns who its
    `members` are and what the branch has returned for them, where that is more or less than it was given.

    Issued directly: SQLAlchemy's two-phase API rolls the prepared transaction back when its connection is closed. In a
    transaction that has failed PostgreSQL answers the statement with the tag ROLLBACK and no error, so the tag is
    checked. A warning says that the synchronous standby may not have it, and then it is no promise.
    """
    driver: Any = session.connection().connection.driver_connection
    driver.notices.clear()
    statement, values = "PREPARE TRANSACTION %(gid)s", {"gid": str(gid), **_key(gid)}
    # (In a transaction that has failed the update would be the first to say so, in other words.)
    if members is not None and not has_failed(driver):
        statement, values = _KEEP_MEMBERS + statement, {**values, "members": json.dumps(members)}
    cursor = session.connection().exec_driver_sql(statement, values).context.cursor
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
