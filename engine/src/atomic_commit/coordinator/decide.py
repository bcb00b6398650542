"""The decider: counts the votes of one attempt and writes down what follows from them, in one local transaction.

The members of an attempt are decided about together, and each for itself: whoever a branch has dropped does not keep
the others from committing, and when the attempt has to be given up only those abort who can't commit ever.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from uuid import UUID

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from atomic_commit import journal
from atomic_commit.coordinator.known_databases import KnownDatabases
from atomic_commit.declare import TransactionKind, Values
from atomic_commit.errors import AtomicCommitError, Impossible, Lost, is_lost
from atomic_commit.journal import records
from atomic_commit.journal.records import Attempt, Outcome, State, TransactionRecord
from atomic_commit.limits import Limits
from atomic_commit.names import service_of
from atomic_commit.postgres.database import autocommit, translated_errors
from atomic_commit.testing.failpoints import reach
from atomic_commit.votes import (
    Ballot,
    Cause,
    Decision,
    Situation,
    Vote,
    ballots_of_member,
    deciding_ballot,
    decision_of,
    no_ballot,
    silent_ballot,
)
from atomic_commit.wire.hand_over import HandedOn, read_handed_on
from atomic_commit.wire.messages import Messages

log = logging.getLogger(__name__)

#: After so many silent attempts a transaction goes by itself: it may be what the workers die of.
_SILENT_TOGETHER = 3

Decisions = Mapping[UUID, Decision]


class Decider:
    """Decides about the transactions that one service coordinates, on its database (`engine`)."""

    def __init__(
        self,
        engine: Engine,
        messages: Messages,
        kinds: Mapping[str, TransactionKind],
        limits: Limits,
        databases: KnownDatabases,
    ) -> None:
        self._databases = databases
        self._engine, self._messages, self._kinds, self._limits = engine, messages, kinds, limits
        self._reads = autocommit(engine)

    def decide(self, leader: UUID, number: int, handed_on: HandedOn | None = None) -> tuple[Attempt, Outcome] | None:
        """Count the votes of an attempt and act on them. Returns the attempt and what its branches are to be told, or
        None: it is too early, or somebody else has decided.

        `handed_on` is what the chain gave to its last link; without it the AsyncResults alone are asked. Of several
        calls, late ones and rivals, one wins the conditional update; the others change nothing.
        """
        reach("decide.before_votes")
        with Session(self._reads) as session:
            attempt = records.read_attempt(session, leader, number)
            if attempt is None and not records.read(session, leader):
                raise Impossible(f"transaction {leader} is not in this journal")
        if attempt is None or not attempt.branches:
            return None
        ballots = [self._counted(attempt, ballot) for ballot in self._messages.ballots(attempt, handed_on)]
        decisions = self._decisions(attempt, ballots)
        if Decision.COMMIT in decisions.values():
            won, no = self._commit(attempt, ballots, decisions, handed_on)
            if no is None:
                return (attempt, Outcome.COMMIT) if won else None
            # The coordinator's own change is the last resource: its no counts like any branch's.
            ballots = [*ballots, no]
            decisions = self._decisions(attempt, ballots)
        if Decision.WAIT in decisions.values():
            return None
        decisions |= _refused_beside(attempt, ballots)
        return (attempt, Outcome.ROLLBACK) if self._give_up(attempt, ballots, decisions) else None

    def abort(self, attempt: Attempt) -> bool:
        """Abort an attempt that has come too late, before any branch of it has run."""
        return self._give_up(attempt, (), {member.id: Decision.ABORT for member in attempt.members})

    # ---- what the votes mean

    def _counted(self, attempt: Attempt, ballot: Ballot) -> Ballot:
        """A yes from a database that is not the participant's is worth nothing; a defect is final for who is alone."""
        if ballot.database and not self._databases.accepts(service_of(ballot.branch), ballot.database):
            return silent_ballot(ballot.branch, ballot.status)
        return ballot.beside_others() if attempt.shared else ballot

    def _decisions(self, attempt: Attempt, ballots: Sequence[Ballot]) -> dict[UUID, Decision]:
        """What the votes mean for each member: the same for all, but where single ones have said no."""
        return {
            member.id: decision_of(ballots_of_member(ballots, str(member.id)), self._situation(attempt, member))
            for member in attempt.members
        }

    def _situation(self, attempt: Attempt, member: TransactionRecord) -> Situation:
        return Situation(
            failed_attempts=member.failed_attempts + (not attempt.shared),
            patience_over=attempt.patience_left < 0,
            deadline_over=attempt.read_at > member.deadline,
            failed_attempts_limit=self._limits.failed_attempts,
        )

    # ---- commit

    def _commit(
        self, attempt: Attempt, ballots: Sequence[Ballot], decisions: Decisions, handed_on: HandedOn | None
    ) -> tuple[bool, Ballot | None]:
        """The commit point, for every member that no branch has dropped. Returns whether it was this call that decided,
        and a no where the local change could not be made; then nothing happened here.

        A connection that breaks during the commit raises: whether it happened is for recovery to read.
        """
        kind = self._kinds[attempt.kind]
        going = [member for member, decision in decisions.items() if decision is Decision.COMMIT]
        dropped = {member: decision for member, decision in decisions.items() if decision is not Decision.COMMIT}
        with Session(self._engine) as session:
            reach("decide.before_update", session)
            if not self._hold(session, attempt) or not self._record(session, attempt, going, State.COMMITTED, None):
                return False, None
            reach("decide.after_update", session)
            try:
                with translated_errors():
                    results = _changed(session, kind, going, self._values(attempt, handed_on))
            except Exception as error:
                session.rollback()
                return False, self._own_no(attempt, error)
            journal.record_results(session, results)
            self._leave_out(session, attempt, ballots, dropped, given_up=False)
            journal.record_outcomes(session, attempt.leader, attempt.number, Outcome.COMMIT, ballots)
            reach("decide.before_commit", session)
            try:
                with translated_errors():
                    session.commit()
            except Lost:
                raise
            except Exception as error:  # answered, so it has not happened: a deferred constraint, for example
                session.rollback()
                return False, self._own_no(attempt, error)
        reach("decide.after_commit")
        log.info("%s %s: committed", kind.name, attempt)
        return True, None

    def _own_no(self, attempt: Attempt, error: Exception) -> Ballot:
        """The no of the coordinator's own change."""
        log.warning("%s %s: local change failed: %s: %s", attempt.kind, attempt, type(error).__name__, error)
        no = no_ballot(f"{self._messages.service}.{attempt.kind}", error)
        # Of several it is not known whose no it is: each goes again, alone.
        return replace(no, cause=Cause.FAILED) if attempt.shared else no

    def _values(self, attempt: Attempt, handed_on: HandedOn | None) -> Mapping[str, Values]:
        """What begin and the branches returned: from the chain, else from the last branch's stored result."""
        last = handed_on or self._messages.result_of(self._messages.gid(attempt.branches[-1]))
        if last is None:
            raise AtomicCommitError("the votes say yes but the last branch's result has gone")
        return read_handed_on(last)["members"]

    # ---- give up

    def _give_up(self, attempt: Attempt, ballots: Sequence[Ballot], decisions: Decisions) -> bool:
        """End an attempt that does not commit: who can't commit ever is aborted, the others go into another one, with
        new identifiers, when its branches are rolled back and fenced. Returns whether it was this call that did it."""
        with Session(self._engine) as session, session.begin():
            reach("give_up.before_update", session)
            if not self._hold(session, attempt) or not self._leave_out(
                session, attempt, ballots, decisions, given_up=True
            ):
                return False
            journal.record_outcomes(session, attempt.leader, attempt.number, Outcome.ROLLBACK, ballots)
            reach("give_up.before_commit", session)
        reach("give_up.after_commit")
        log.info("%s %s: given up: %s", attempt.kind, attempt, deciding_ballot(ballots))
        return True

    def _leave_out(
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
                met = self._record(session, attempt, [member.id for member in alike], State.ABORTED, cause)
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

    # ---- the conditional updates

    def _hold(self, session: Session, attempt: Attempt) -> bool:
        """Lock the members of a shared attempt, in one order for everybody. False if it is over."""
        if not attempt.shared:
            return True
        held = journal.hold_attempt(session, attempt.leader, attempt.number)
        if held and held != {member.id for member in attempt.members}:
            raise Impossible(f"{attempt}: its members have changed")
        return bool(held)

    def _record(
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


def _refused_beside(attempt: Attempt, ballots: Sequence[Ballot]) -> dict[UUID, Decision]:
    """Of an attempt that is given up: whom a branch has refused beside others that it let go on. They may have
    taken what was missing, and do not commit; another try tells."""
    refused = {
        member
        for ballot in ballots
        for member, no in ballot.members
        if ballot.vote is Vote.YES and no.cause is Cause.REFUSED
    }
    return {member.id: Decision.RETRY for member in attempt.members if str(member.id) in refused}


def _changed(
    session: Session, kind: TransactionKind, going: Sequence[UUID], values: Mapping[str, Values]
) -> dict[UUID, Values]:
    """The coordinator's own change, for each of them. Returns their results."""
    of_each = {transaction: values[str(transaction)] for transaction in going}
    if kind.commit_batch and len(going) > 1:
        done = kind.commit_batch(session, of_each)
        if done.keys() != of_each.keys():
            raise Impossible(f"{kind.name}: what commits together has not answered for each and nobody else")
        session.flush()
        return {transaction: result for transaction, result in done.items() if result is not None}
    results = {}
    for transaction, own in of_each.items():
        result = kind.commit(session, transaction, own)
        session.flush()
        session.expunge_all()
        if result is not None:
            results[transaction] = result
    return results


def _by_no(
    members: Sequence[TransactionRecord], why: Mapping[UUID, Ballot | None]
) -> dict[Ballot | None, list[TransactionRecord]]:
    by_no: dict[Ballot | None, list[TransactionRecord]] = {}
    for member in members:
        by_no.setdefault(why[member.id], []).append(member)
    return by_no
