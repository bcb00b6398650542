"""A branch that this service's database has forgotten is run again."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from atomic_commit.declare import BranchDeclaration, Values
from atomic_commit.errors import LOCK_NOT_AVAILABLE, Conflict, Defect, Fenced, Impossible, Refused, sqlstate
from atomic_commit.limits import Limits
from atomic_commit.names import Gid
from atomic_commit.participant.epochs import NOT_KNOWN_YET
from atomic_commit.participant.own_transaction import branch_runs, has_failed, own_transaction
from atomic_commit.postgres.confirmed import Confirmation
from atomic_commit.postgres.database import autocommit, defects_named, translated_errors
from atomic_commit.postgres.identity import OWN_DATABASE, Identity

log = logging.getLogger(__name__)

_BEGIN_WITH_BRANCH_ROW = (
    # It is as old as the attempt: else it would outlive what proves it in the coordinator's journal.
    "BEGIN;"
    "SELECT set_config('lock_timeout', :short, true);"
    "INSERT INTO branch_rows (transaction_id, attempt, branch, kind, coordinated_by, members, created_at)"
    " VALUES (:transaction, :attempt, :branch, 'done', :coordinated_by, '{{}}',"
    "  clock_timestamp() - make_interval(secs => :age)) ON CONFLICT DO NOTHING;"
    "SELECT kind, members, set_config('lock_timeout', :long, true),"
    f" {OWN_DATABASE} AS database, {{finds_out}} AS finds_out FROM branch_rows"
    " WHERE transaction_id = :transaction AND attempt = :attempt AND branch = :branch FOR UPDATE"
)
_ADD_MEMBERS = text(
    "UPDATE branch_rows SET members = members || CAST(:members AS jsonb)"
    " WHERE transaction_id = :transaction AND attempt = :attempt AND branch = :branch"
)


class RunAgain:
    """The branches of one service on its database (`engine`, which `identity` names), which offers these."""

    def __init__(
        self,
        engine: Engine,
        identity: Identity,
        limits: Limits,
        branches: Mapping[str, BranchDeclaration],
        finds_out: str = "false",
    ) -> None:
        """`finds_out`: SQL, as for ``Participant``."""
        self._begin_with_branch_row = text(_BEGIN_WITH_BRANCH_ROW.format(finds_out=finds_out))
        self._autocommit, self._identity, self._limits = autocommit(engine), identity, limits
        self._branches, self._confirmation = branches, Confirmation(engine)

    def hold_again(
        self, gid: Gid, members: Mapping[str, Values], age: float, *, meant_for: str | None
    ) -> dict[str, str]:
        """The same for a branch that only holds, for each member by itself. Returns those for whom it can't be granted
        any more, with why: what was held until a decision of which this database knows nothing is not there now.

        Raises Conflict where somebody is in the way (what was granted so far stays), or Lost: ask again.
        """
        refused = {}
        for member, values in members.items():
            try:
                self.redo(gid, {member: values}, age, sure=False, meant_for=meant_for)
            except Refused as no:
                refused[member] = f"{no.reason}: {no.detail}"
            except (Fenced, Defect) as no:  # this one's own trouble, and none of the others' who are asked about
                refused[member] = str(no)
        return refused

    def redo(
        self, gid: Gid, members: Mapping[str, Values], age: float, *, sure: bool, meant_for: str | None
    ) -> list[str]:
        """Run the branch for those of `members` (transaction id as text → the values recorded for it) for whom the
        branch row does not say that it is done, in one local transaction with that row. Returns them; nobody where it
        was done already.

        `age`: seconds since the attempt. `sure`: it may run though it is not declared as safe to redo. Raises Refused,
        Conflict, Fenced, Defect, or what the branch raises: then nothing has changed. Raises Lost: nobody knows; ask
        again.
        """
        branch = self._branches.get(gid.branch)
        if branch is None:
            raise Refused("unknown_branch", f"Nobody here knows the branch {gid.branch}.")
        if not (branch.holds or branch.safe_to_redo or sure):
            raise Refused("not_safe_to_redo", f"{gid.branch} is not declared as safe to redo: a person has to look.")
        with translated_errors(), own_transaction(self._autocommit) as session:
            missing = self._missing(session, gid, members, age, meant_for)
            if missing:
                with defects_named():
                    with branch_runs(session, branch):
                        added = _run(session, branch, missing)
                    session.execute(_ADD_MEMBERS, {**_key(gid), "members": json.dumps(added)})
                    session.connection().exec_driver_sql("COMMIT")
                log.warning("%s was run again for %s", gid, ", ".join(missing))
        self._confirmation.wait()  # also for what an earlier call has done
        return list(missing)

    def _missing(
        self, session: Session, gid: Gid, members: Mapping[str, Values], age: float, meant_for: str | None
    ) -> dict[str, Values]:
        """Begin, with the branch row locked. Returns those for whom it is not done."""
        waits = {"short": _setting(self._limits.branch_row_timeout), "long": _setting(self._limits.lock_timeout)}
        own = {"installation": str(self._identity.installation), "service": self._identity.service}
        try:
            row = session.execute(
                self._begin_with_branch_row, {**_key(gid), "coordinated_by": gid.kind, "age": age, **waits, **own}
            ).one()
        except DBAPIError as error:
            if sqlstate(error) != LOCK_NOT_AVAILABLE:
                raise
            raise Conflict(f"{gid} stands prepared, or is being run again right now: ask again") from error
        self._identity.assert_own(str(row.database) if row.database else None, meant_for)
        if row.finds_out:
            raise Conflict(NOT_KNOWN_YET)
        if row.kind != "done":
            raise Fenced(f"{gid} was rolled back here, and yet it was committed: a person has to look")
        if row.members is None:
            return {}
        return {member: values for member, values in members.items() if member not in row.members}


def _run(session: Session, branch: BranchDeclaration, members: Mapping[str, Values]) -> dict[str, Values]:
    """Run the branch for each. Returns what its row is to keep: what was given and returned the first time."""
    branch.lock(session, list(members.values()))
    kept = {}
    for member, values in members.items():
        added = branch.call(session, values)
        session.flush()
        session.expunge_all()
        if has_failed(session.connection().connection.driver_connection):
            raise Impossible(f"{branch.name} hid a database error")
        kept[member] = {**added, **branch.given(values), **{name: values[name] for name in added if name in values}}
    return kept


def _key(gid: Gid) -> dict[str, Any]:
    return {"transaction": gid.transaction, "attempt": gid.attempt, "branch": gid.branch}


def _setting(seconds: float) -> str:
    return f"{round(seconds * 1000)}ms"
