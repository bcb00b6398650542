"""Decide: count the votes of an attempt, and write down what follows from them in one local transaction.

``decide`` is the protocol: votes → decision → ``_commit``, which is the commit point, or ``_give_up``. Read it for an
attempt with one member. What is particular where several transactions share an attempt stands in ``members``.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from uuid import UUID

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from atomic_commit import journal
from atomic_commit.coordinator.known_databases import KnownDatabases
from atomic_commit.coordinator.members import Decisions, Members, refused_beside
from atomic_commit.declare import TransactionKind, Values
from atomic_commit.errors import AtomicCommitError, Impossible, Lost
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
    ballots_of_member,
    deciding_ballot,
    decision_of,
    no_ballot,
    silent_ballot,
)
from atomic_commit.wire.hand_over import HandedOn, read_handed_on
from atomic_commit.wire.messages import Messages

log = logging.getLogger(__name__)


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
        self._members = Members(self._kinds, limits)

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
        decisions |= refused_beside(attempt, ballots)
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
            if not self._members.hold(session, attempt):
                return False, None
            if not self._members.record(session, attempt, going, State.COMMITTED, None):
                return False, None
            reach("decide.after_update", session)
            try:
                with translated_errors():
                    values = self._values(attempt, handed_on)
                    results = changed_locally(session, kind, going, values)
            except Exception as error:
                session.rollback()
                return False, self._own_no(attempt, error)
            journal.record_commit(session, {member: values[str(member)] for member in going}, results)
            self._members.leave_out(session, attempt, ballots, dropped, given_up=False)
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
            if not self._members.hold(session, attempt):
                return False
            if not self._members.leave_out(session, attempt, ballots, decisions, given_up=True):
                return False
            journal.record_outcomes(session, attempt.leader, attempt.number, Outcome.ROLLBACK, ballots)
            reach("give_up.before_commit", session)
        reach("give_up.after_commit")
        log.info("%s %s: given up: %s", attempt.kind, attempt, deciding_ballot(ballots))
        return True


def changed_locally(
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
