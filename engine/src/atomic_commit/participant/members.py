"""A branch's function, run for every transaction that shares the attempt, in one local transaction.

The function sees one request and one session each time. What one of them does is seen by the next, as if it had been
committed before it; a no of one of them undoes what that one has done and nothing else (a savepoint).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from atomic_commit.declare import BranchDeclaration, Values
from atomic_commit.errors import Lost, Refused, is_lost
from atomic_commit.postgres.database import translated_errors
from atomic_commit.votes import Ballot, no_ballot

#: Milliseconds for a lock once the one wait is over: enough to find out who is in the way.
_SHORT_WAIT = 20
#: In milliseconds.
_LOCK_TIMEOUT = text("SELECT 1000 * extract(epoch FROM CAST(current_setting('lock_timeout') AS interval))")

_Answers = tuple[dict[str, Values], dict[str, Ballot]]


@dataclass(frozen=True)
class Run:
    """What became of the members of an attempt in one branch, each by its transaction id as text."""

    #: of each that said yes: the values that the function returned
    added: dict[str, Values]
    #: of each that said no: its ballot; neither a change nor a lock of it is left
    noes: dict[str, Ballot]
    #: whether nobody who said no had anything before it that another member had changed
    undisturbed: bool = False


def run_members(session: Session, branch: BranchDeclaration, members: Mapping[str, Values]) -> Run:
    """Run the branch for each of `members` (transaction id as text → its values).

    A transaction that is alone raises what its function raises: there is nobody whom it could spare.

    Whoever says no is left out and the others run once more from the start, because a row lock lasts as long as what is
    prepared: a lock that was taken for somebody who is refused would keep others waiting until the outcome. Each round
    leaves out one at least, and hardly ever is there a third.
    """
    if len(members) == 1:
        ((member, values),) = members.items()
        return Run({member: branch.call(session, values)}, {})
    going, noes, locks = dict(members), dict[str, Ballot](), _LocksOfAll(session)
    while going:
        added, said_no = _round(session, branch, going, locks)
        if not said_no:
            return Run(added, noes)
        if said_no.keys() == members.keys():
            return Run({}, said_no, undisturbed=True)
        noes |= said_no
        going = {member: values for member, values in going.items() if member not in said_no}
        locks.wait_for_what_is_left()
    return Run({}, noes)


class _LocksOfAll:
    """The rows of all members are locked before the first one runs, and waited for once: the coordinator's patience is
    not much longer than one wait."""

    def __init__(self, session: Session) -> None:
        self._session, self._began = session, time.monotonic()
        self._longest: float | None = None

    def wait_for_what_is_left(self) -> None:
        """From here on wait for no lock for longer than what is left of the one wait."""
        if self._longest is None:
            self._longest = float(self._session.scalar(_LOCK_TIMEOUT) or 0.0)
        left = self._longest - 1000 * (time.monotonic() - self._began)
        self._session.execute(text(f"SET LOCAL lock_timeout = {max(_SHORT_WAIT, round(left))}"))

    def take_if_possible(self, branch: BranchDeclaration, members: Mapping[str, Values]) -> None:
        """Lock what all of them will touch. What can't be had is found out by asking each."""
        try:
            with self._session.begin_nested():
                branch.lock(self._session, list(members.values()))
        except Exception as error:
            if _is_over(error):
                raise
            self.wait_for_what_is_left()


class _NotAll(Exception):
    """Some of them say no. (Raised to undo what was done for all.)"""

    def __init__(self, noes: dict[str, Ballot]) -> None:
        super().__init__()
        self.noes = noes


def _round(session: Session, branch: BranchDeclaration, members: Mapping[str, Values], locks: _LocksOfAll) -> _Answers:
    """Run the branch for all of them, or find out who says no; then everything is undone."""
    try:
        return _all_or_nobody(session, branch, members), {}
    except _NotAll as some:
        return {}, some.noes
    except Exception as error:
        if _is_over(error):
            raise
    locks.wait_for_what_is_left()
    try:
        return _one_by_one(session, branch, members, locks), {}
    except _NotAll as some:
        return {}, some.noes


def _all_or_nobody(session: Session, branch: BranchDeclaration, members: Mapping[str, Values]) -> dict[str, Values]:
    """What nearly always happens, with one savepoint for all."""
    with session.begin_nested():
        at_once = branch.call_batch(session, list(members.values()))
        if at_once is not None:
            return _granted(branch, dict(zip(members, at_once, strict=True)))
        branch.lock(session, list(members.values()))
        return {member: _called(session, branch, values) for member, values in members.items()}


def _granted(branch: BranchDeclaration, answers: Mapping[str, Values | Refused]) -> dict[str, Values]:
    noes = {member: no_ballot(branch.name, answer) for member, answer in answers.items() if isinstance(answer, Refused)}
    if noes:
        raise _NotAll(noes)
    return {member: answer for member, answer in answers.items() if not isinstance(answer, Refused)}


def _one_by_one(
    session: Session, branch: BranchDeclaration, members: Mapping[str, Values], locks: _LocksOfAll
) -> dict[str, Values]:
    """Somebody says no: find out who."""
    added, noes = {}, {}
    with session.begin_nested():
        locks.take_if_possible(branch, members)
        for member, values in members.items():
            try:
                with translated_errors(), session.begin_nested():
                    added[member] = _called(session, branch, values)
            except Exception as error:
                if _is_over(error):
                    raise
                noes[member] = no_ballot(branch.name, error)
        if noes:
            raise _NotAll(noes)
    return added


def _called(session: Session, branch: BranchDeclaration, values: Values) -> Values:
    """One call, in a session that knows no more than a new one would."""
    own = branch.call(session, values)
    session.flush()
    session.expunge_all()
    return own


def _is_over(error: Exception) -> bool:
    """Whether the local transaction itself is gone, and with it the question who said no."""
    return isinstance(error, Lost) or (isinstance(error, DBAPIError) and is_lost(error))
