"""A branch's function, run for every transaction that shares the attempt, in one local transaction.

The function sees one request and one session each time. What one of them does is seen by the next, as if it had been
committed before it; a no of one of them undoes what that one has done and nothing else (a savepoint).
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from atomic_commit.database import told_apart
from atomic_commit.declare import BranchDeclaration, Values
from atomic_commit.errors import LOCK_NOT_AVAILABLE, Lost, is_lost, sqlstate
from atomic_commit.votes import Ballot, no_ballot

#: Milliseconds for a lock once one wait for all of them together was in vain: enough to find out who is in the way.
_SHORT_WAIT = 20

Run = tuple[dict[str, Values], dict[str, Ballot]]


def run_members(session: Session, branch: BranchDeclaration, members: Mapping[str, Values]) -> Run:
    """Run the branch for each of `members` (transaction id as text → its values). Returns what the function returned
    for each that said yes, and the ballot of each that said no.

    A transaction that is alone raises what its function raises: there is nobody whom it could spare.
    """
    if len(members) == 1:
        ((member, values),) = members.items()
        return {member: branch.call(session, values)}, {}
    try:
        return _all_or_nobody(session, branch, members), {}
    except Exception as error:
        if _is_over(error):
            raise
        if sqlstate(error) == LOCK_NOT_AVAILABLE:
            _wait_shortly(session)
    return _one_by_one(session, branch, members)


def _all_or_nobody(session: Session, branch: BranchDeclaration, members: Mapping[str, Values]) -> dict[str, Values]:
    """What nearly always happens, with one savepoint for all."""
    with session.begin_nested():
        at_once = branch.call_together(session, list(members.values()))
        if at_once is not None:
            return dict(zip(members, at_once, strict=True))
        branch.lock(session, list(members.values()))
        return {member: _called(session, branch, values) for member, values in members.items()}


def _one_by_one(session: Session, branch: BranchDeclaration, members: Mapping[str, Values]) -> Run:
    """Somebody says no: find out who. Locks that can't be had together are waited for no second time: the coordinator's
    patience is not much longer than one wait."""
    try:
        with session.begin_nested():
            branch.lock(session, list(members.values()))
    except Exception as error:
        if _is_over(error):
            raise
        _wait_shortly(session)
    added, noes = {}, {}
    for member, values in members.items():
        try:
            with told_apart(), session.begin_nested():
                added[member] = _called(session, branch, values)
        except Exception as error:
            if _is_over(error):
                raise
            noes[member] = no_ballot(branch.name, error)
    return added, noes


def _wait_shortly(session: Session) -> None:
    session.execute(text(f"SET LOCAL lock_timeout = {_SHORT_WAIT}"))


def _called(session: Session, branch: BranchDeclaration, values: Values) -> Values:
    """One call, in a session that knows no more than a new one would."""
    own = branch.call(session, values)
    session.flush()
    session.expunge_all()
    return own


def _is_over(error: Exception) -> bool:
    """Whether the local transaction itself is gone, and with it the question who said no."""
    return isinstance(error, Lost) or (isinstance(error, DBAPIError) and is_lost(error))
