"""What is particular where several transactions share an attempt.

They are decided about together, and each for itself: one that a branch has dropped does not keep the others from
committing, and when the attempt has to be given up only those abort who can't commit ever. For an attempt with one
member all of this comes down to the conditional update and the kind's ``abort``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from uuid import UUID

from sqlalchemy.orm import Session

from atomic_commit import journal
from atomic_commit.declare import TransactionKind
from atomic_commit.errors import Impossible, is_lost
from atomic_commit.journal.records import Attempt, State, TransactionRecord
from atomic_commit.limits import Limits
from atomic_commit.votes import Ballot, Cause, Decision, Vote, ballots_of_member, deciding_ballot

log = logging.getLogger(__name__)

#: After so many silent attempts a transaction goes by itself: it may be what the workers die of.
_SILENT_TOGETHER = 3

Decisions = Mapping[UUID, Decision]


class Members:
    """The members of attempts at these kinds."""

    def __init__(self, kinds: Mapping[str, TransactionKind], limits: Limits) -> None:
        self._kinds, self._limits = kinds, limits

    def hold(self, session: Session, attempt: Attempt) -> bool:
        """Lock the members of a shared attempt, in one order for everybody. False if it is over."""
        if not attempt.shared:
            return True
        held = journal.hold_attempt(session, attempt.leader, attempt.number)
        if held and held != {member.id for member in attempt.members}:
            raise Impossible(f"{attempt}: its members have changed")
        return bool(held)

    def record(
        self,
        session: Session,
        attempt: Attempt,
        members: Sequence[UUID],
        state: State,
        cause: Mapping[str, object] | None,
    ) -> set[UUID]:
        """What follows in the local transaction are the coordinator's own changes. An outcome worker must not wait long
        for rows that somebody holds: it may be the one who would let them go."""
        return journal.record_decision(
            session,
            attempt.leader,
            attempt.number,
            members,
            state,
            cause,
            self._limits.look_after,
            self._limits.branch_row_timeout,
        )

    # ---- those who do not commit

    def leave_out(
        self,
        session: Session,
        attempt: Attempt,
        ballots: Sequence[Ballot],
        decisions: Decisions,
        *,
        given_up: bool,
    ) -> bool:
        """Abort these members, or send them into another attempt. False if somebody else has decided."""
        spoilers = {no for ballot in ballots for _, no in ballot.members} if given_up else set()
        why = {member: deciding_ballot(ballots_of_member(ballots, str(member))) for member in decisions}
        aborted = [member for member in attempt.members if decisions.get(member.id) is Decision.ABORT]
        again = [member for member in attempt.members if decisions.get(member.id) is Decision.RETRY]
        met = self._abort(session, attempt, aborted, why)
        if met is None:
            again, met = [*again, *aborted], False
        for no, members in _by_no(again, why).items():
            met |= self._again(session, attempt, no, members, alone=no in spoilers)
        return met

    def _abort(
        self,
        session: Session,
        attempt: Attempt,
        members: Sequence[TransactionRecord],
        why: Mapping[UUID, Ballot | None],
    ) -> bool | None:
        """Decide against these members and take their local marks back. None if one of several can't: then nothing was
        done, and it does not keep the rest of its attempt from being decided about."""
        abort = self._kinds[attempt.kind].abort
        met = False
        try:
            with session.begin_nested() if attempt.shared else nullcontext():
                for member, cause in self._aborted(session, attempt, members, why):
                    abort(session, member.id, member.values)
                    met = True
                    log.info("%s %s: aborted: %s", attempt.kind, member.id, cause)
                session.flush()
                if met:
                    journal.tell_who_waits(session)
        except Exception as error:
            if not attempt.shared or is_lost(error):
                raise
            log.warning("%s %s: can't be aborted together: %s", attempt.kind, attempt, error)
            return None
        return met

    def _aborted(
        self,
        session: Session,
        attempt: Attempt,
        members: Sequence[TransactionRecord],
        why: Mapping[UUID, Ballot | None],
    ) -> Iterator[tuple[TransactionRecord, Mapping[str, object] | None]]:
        """Record the decision against these members, those with the same reason at once. Gives those that it met, with
        what the journal says of each."""
        for ballot, those in _by_no(members, why).items():
            causes = [ballot.as_cause()] if ballot else [member.cause for member in those]
            for cause, alike in zip(causes, [those] if ballot else [[member] for member in those], strict=True):
                met = self.record(session, attempt, [member.id for member in alike], State.ABORTED, cause)
                yield from ((member, cause) for member in alike if member.id in met)

    def _again(
        self,
        session: Session,
        attempt: Attempt,
        no: Ballot | None,
        members: Sequence[TransactionRecord],
        *,
        alone: bool,
    ) -> bool:
        """Send these members, all for the same reason, into another attempt. From now on without others (`alone`), if
        they spoil it for them or might."""
        cause = no.cause if no else Cause.SILENCE
        silent = cause is Cause.SILENCE
        often_silent = silent and max(member.silent_attempts for member in members) + 1 >= _SILENT_TOGETHER
        met = journal.record_retry(
            session,
            attempt.leader,
            attempt.number,
            [member.id for member in members],
            no.as_cause() if no else None,
            0.0 if cause is Cause.BESIDE else self._limits.pause(max(member.attempt for member in members)),
            self._limits.look_after,
            failed=cause is Cause.FAILED and not attempt.shared,
            silent=silent,
            alone=alone or often_silent or cause is Cause.FAILED,
        )
        return bool(met)


def refused_beside(attempt: Attempt, ballots: Sequence[Ballot]) -> dict[UUID, Decision]:
    """Of an attempt that is given up: whom a branch has refused beside others that it let go on. They may have
    taken what was missing, and do not commit; another try tells."""
    refused = {
        member
        for ballot in ballots
        for member, no in ballot.members
        if ballot.vote is Vote.YES and no.cause is Cause.REFUSED
    }
    return {member.id: Decision.RETRY for member in attempt.members if str(member.id) in refused}


def _by_no(
    members: Sequence[TransactionRecord], why: Mapping[UUID, Ballot | None]
) -> dict[Ballot | None, list[TransactionRecord]]:
    by_no: dict[Ballot | None, list[TransactionRecord]] = {}
    for member in members:
        by_no.setdefault(why[member.id], []).append(member)
    return by_no
