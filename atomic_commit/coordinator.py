"""The coordinator: begins transactions, decides them, and sees them settled.

Each public verb is one step of the protocol, safe to repeat and to interrupt anywhere; what a step leaves undone is
found in the journal by recovery, which calls the same verbs.

``begin``       local transaction: checks, marks, journal row. From its commit on the request is never lost.
``decide``      one local transaction: the conditional update together with the local change. The commit point.
``acknowledge`` a participant has answered; the last answer settles the transaction or lets the next attempt go.
``look``        whatever the rows say is still to be done for one transaction.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.orm import Session

from atomic_commit import journal, records
from atomic_commit.database import told_apart
from atomic_commit.declare import TransactionKind, Values
from atomic_commit.errors import AtomicCommitError, Conflict, Impossible, KeyReused, Lost, is_lost
from atomic_commit.limits import Limits
from atomic_commit.messages import Messages
from atomic_commit.participant import Answer, HandedOn
from atomic_commit.points import reach
from atomic_commit.records import IdempotencyKey, Outcome, State, TransactionRecord
from atomic_commit.votes import Ballot, Cause, Decision, Situation, deciding_ballot, decision_of, no_ballot

log = logging.getLogger(__name__)


class Coordinator:
    """The transactions that one service starts, on its database (`engine`)."""

    def __init__(self, engine: Engine, messages: Messages, kinds: Iterable[TransactionKind], limits: Limits) -> None:
        self._engine, self._messages, self._limits = engine, messages, limits
        self._kinds = {kind.name: kind for kind in kinds}

    # ---- begin

    def begin(self, kind_name: str, arguments: Values, key: IdempotencyKey | None = None) -> TransactionRecord:
        """Accept a transaction, or join the one that was accepted under the same idempotency key.

        Raises Refused or Missing (the kind's begin said no), Conflict (a row was locked for too long), KeyReused, or
        Lost. Then nothing was accepted and nothing is left behind, but for a Lost that names a transaction: the
        database went away during the commit, and whether it was accepted only that transaction's URL can tell.
        """
        kind, transaction = self._kinds[kind_name], uuid4()
        if key and (earlier := self._joined(key)):
            return earlier
        try:
            record = self._accepted(kind, transaction, arguments, key)
        except (AtomicCommitError, IntegrityError):
            # A request with the same key may have won the race in the meantime: then this one joins it.
            if key and (earlier := self._joined(key)):
                return earlier
            raise
        self._send_attempt(record)
        return record

    def _accepted(
        self, kind: TransactionKind, transaction: UUID, arguments: Values, key: IdempotencyKey | None
    ) -> TransactionRecord:
        """The local transaction of begin."""
        with told_apart(), Session(self._engine) as session:
            reach("begin.before_accept", session)
            values = kind.begin(session, transaction, arguments)
            self._accept(session, transaction, kind, values, key)
            record = self._in(session, transaction)
            reach("begin.before_commit", session)
            try:
                session.commit()
            except DBAPIError as error:
                if not is_lost(error):
                    raise
                if not self._was_accepted(transaction, kind, error):
                    raise Conflict("the database went away before it was accepted") from error
        reach("begin.after_commit")
        return record

    def _was_accepted(self, transaction: UUID, kind: TransactionKind, error: DBAPIError) -> bool:
        """Whether a begin whose commit was not answered has happened.

        Reading would not tell: the server may still be at it. So the row's place is taken by a settled one: while the
        lost begin is under way that insertion waits for it, and once it has succeeded the begin can't happen any more.
        Raises Lost where the database stays away: then only the transaction's URL will tell.
        """
        try:
            with told_apart(), Session(self._engine) as session, session.begin():
                return not journal.take_place(session, transaction, kind.name)
        except (Lost, Conflict) as again:
            raise Lost(str(error.orig).strip(), transaction) from again

    def _accept(
        self, session: Session, transaction: UUID, kind: TransactionKind, values: Values, key: IdempotencyKey | None
    ) -> None:
        journal.insert_transaction(
            session,
            transaction,
            kind.name,
            values,
            key,
            deadline=self._limits.deadline,
            patience=self._limits.patience_after(0),
            look_after=self._limits.look_after,
        )
        journal.insert_branches(session, transaction, 1, self._messages.task_ids(transaction, 1, kind.branches))

    def _joined(self, key: IdempotencyKey) -> TransactionRecord | None:
        with told_apart(), Session(self._engine) as session:
            earlier = records.read_by_key(session, key)
        if earlier and earlier.fingerprint != key.fingerprint:
            raise KeyReused("This Idempotency-Key was used before with another request.")
        return earlier

    def _send_attempt(self, record: TransactionRecord) -> bool:
        """Publish the current attempt of a transaction whose row says that it is dispatched. Never raises: what is
        accepted stays accepted, and recovery finds what was not sent."""
        if self._messages.send_attempt(record):
            return True
        try:
            with Session(self._engine) as session, session.begin():
                journal.mark_unpublished(session, record.id, record.attempt, self._limits.look_after)
        except DBAPIError as error:
            log.warning("%s: not sent, and that could not be noted: %s", record.id, error.orig)
        return False

    # ---- decide

    def decide(self, transaction: UUID, attempt: int, handed_on: HandedOn | None = None) -> None:
        """Count the votes of an attempt and act on them: commit, abort, begin a new attempt, or wait.

        `handed_on` is what the chain gave to its last link; without it the AsyncResults alone are asked. Of several
        calls, late ones and rivals, one wins the conditional update; the others change nothing.
        """
        reach("decide.before_votes")
        record = self.read(transaction)
        if record.decided or record.attempt != attempt or not record.current_branches:
            return
        ballots = self._messages.ballots_handed_on(record, handed_on) if handed_on else self._messages.ballots(record)
        self._act(record, ballots, self._decision(record, ballots), handed_on)

    def _decision(self, record: TransactionRecord, ballots: Sequence[Ballot]) -> Decision:
        situation = Situation(
            failed_attempts=record.failed_attempts + 1,
            patience_over=record.read_at > record.patience_until,
            deadline_over=record.read_at > record.deadline,
            failed_attempts_limit=self._limits.failed_attempts,
        )
        return decision_of(ballots, situation)

    def _act(
        self,
        record: TransactionRecord,
        ballots: Sequence[Ballot],
        decision: Decision,
        handed_on: HandedOn | None = None,
    ) -> None:
        if decision is Decision.COMMIT:
            refusal = self._commit(record, ballots, handed_on)
            if refusal:
                # The coordinator's own change is the last resource: its no counts like any branch's.
                self._act(record, [*ballots, refusal], self._decision(record, [*ballots, refusal]))
                return
        elif decision is Decision.ABORT:
            self.abort(record, ballots)
        elif decision is Decision.RETRY:
            self._retry(record, ballots)
        else:
            return
        self.send_outcomes(record.id)

    def _commit(
        self, record: TransactionRecord, ballots: Sequence[Ballot], handed_on: HandedOn | None
    ) -> Ballot | None:
        """The commit point. Returns a no where the local change could not be made; then nothing happened here.

        A connection that breaks during the commit raises: whether it happened is for recovery to read.
        """
        kind = self._kinds[record.kind]
        with Session(self._engine) as session:
            reach("decide.before_update", session)
            if not self._win(session, record, State.COMMITTED, None):
                return None
            reach("decide.after_update", session)
            try:
                with told_apart():
                    result = kind.commit(session, record.id, self._values(record, handed_on))
                    session.flush()
            except Exception as error:
                session.rollback()
                log.warning("%s %s: local change failed: %s: %s", record.kind, record.id, type(error).__name__, error)
                return no_ballot(f"{self._messages.service}.{kind.name}", error)
            journal.record_result(session, record.id, result)
            journal.record_outcomes(session, record.id, record.attempt, Outcome.COMMIT, ballots)
            reach("decide.before_commit", session)
            session.commit()
        reach("decide.after_commit")
        log.info("%s %s: committed (attempt %d)", record.kind, record.id, record.attempt)
        return None

    def abort(self, record: TransactionRecord, ballots: Sequence[Ballot]) -> None:
        """Decide against the transaction and take its local marks back, in one local transaction."""
        ballot = deciding_ballot(ballots)
        cause = ballot.as_cause() if ballot else record.cause
        with Session(self._engine) as session, session.begin():
            if not self._win(session, record, State.ABORTED, cause):
                return
            self._kinds[record.kind].abort(session, record.id, record.values)
            journal.record_outcomes(session, record.id, record.attempt, Outcome.ROLLBACK, ballots)
            reach("abort.before_commit", session)
        reach("abort.after_commit")
        log.info("%s %s: aborted (attempt %d): %s", record.kind, record.id, record.attempt, cause)

    def _win(self, session: Session, record: TransactionRecord, state: State, cause: dict[str, Any] | None) -> bool:
        return journal.record_decision(session, record.id, record.attempt, state, cause, self._limits.look_after)

    def _retry(self, record: TransactionRecord, ballots: Sequence[Ballot]) -> None:
        """End this attempt; a new one, with new identifiers, begins when its branches are rolled back and fenced."""
        ballot = deciding_ballot(ballots)
        cause = ballot.as_cause() if ballot else None
        with Session(self._engine) as session, session.begin():
            pause = self._limits.pause(record.attempt)
            failed = ballot is not None and ballot.cause is Cause.FAILED
            if not journal.record_retry(session, record.id, record.attempt, cause, pause, failed=failed):
                return
            journal.record_outcomes(session, record.id, record.attempt, Outcome.ROLLBACK, ballots)
            reach("retry.before_commit", session)
        reach("retry.after_commit")
        log.info("%s %s: attempt %d is given up: %s", record.kind, record.id, record.attempt, cause)

    def _values(self, record: TransactionRecord, handed_on: HandedOn | None) -> Values:
        """What begin and the branches returned: from the chain, else from the last branch's stored result."""
        if handed_on:
            return handed_on["values"]
        stored = self._messages.result_of(self._messages.gid(record, record.current_branches[-1]))
        if stored is None:
            raise AtomicCommitError("the votes say yes but the last branch's result has gone")
        return stored["values"]

    # ---- settle

    def send_outcomes(self, transaction: UUID) -> bool:
        """Tell every participant that still owes an answer. Returns whether the broker took the messages."""
        return self._messages.send_outcomes(self.read(transaction))

    def acknowledge(self, transaction: UUID, attempt: int, branch: str, answer: Answer) -> None:
        """A participant has answered; the last answer settles the transaction, or lets the next attempt go."""
        if answer is Answer.IMPOSSIBLE:
            self.quarantine(transaction, f"{branch} of attempt {attempt} contradicts the decision")
            return
        with Session(self._engine) as session, session.begin():
            journal.record_settled_branch(session, transaction, attempt, branch)
            settled = journal.record_settled(session, transaction)
            reach("acknowledge.before_commit", session)
        reach("acknowledge.after_commit")
        if settled:
            return
        record = self.read(transaction)
        if not record.decided and not record.dispatched and record.due:
            self._next_attempt(record)

    def quarantine(self, transaction: UUID, error: str) -> None:
        """Put aside what can't be settled, loudly. Its decision stands; a person has to look."""
        log.critical("transaction %s is QUARANTINED: %s", transaction, error)
        with Session(self._engine) as session, session.begin():
            journal.record_quarantine(session, transaction, error)

    # ---- look again

    def look(self, transaction: UUID, *, unwatched: bool = False) -> bool:
        """Do whatever the rows say is still to be done. Returns False if the broker could not be reached.

        `unwatched`: nobody has looked for so long that the silence of branches proves nothing.
        """
        record = self.read(transaction)
        if record.decided:
            return self._settle(record)
        if unwatched or self._clock_was_moved_back(record):
            with Session(self._engine) as session, session.begin():
                journal.restart_clocks(
                    session, record.id, record.attempt, self._limits.patience_after(record.silent_attempts)
                )
            record = self.read(transaction)
        if not record.dispatched:
            return self._next_attempt(record)
        if not record.current_branches:
            raise Impossible(f"attempt {record.attempt} was dispatched, and its branches are not in the journal")
        self.decide(record.id, record.attempt)
        return True

    def _clock_was_moved_back(self, record: TransactionRecord) -> bool:
        """Whether the attempt's patience ends later than if it began only now. (Twice as late, so that another
        process's configuration does not count.)"""
        left = (record.patience_until - record.read_at).total_seconds()
        return left > 2 * self._limits.patience_after(record.silent_attempts)

    def _settle(self, record: TransactionRecord) -> bool:
        if record.owed_branches:
            return self._messages.send_outcomes(record)
        with Session(self._engine) as session, session.begin():
            journal.record_settled(session, record.id)
        return True

    def _next_attempt(self, record: TransactionRecord) -> bool:
        """Publish the attempt that waits, once the earlier ones are settled. After the deadline: abort."""
        if record.owed_branches:
            return self._messages.send_outcomes(record)
        if record.read_at > record.deadline:
            self.abort(record, ())
            return self.send_outcomes(record.id)
        kind = self._kinds[record.kind]
        with Session(self._engine) as session, session.begin():
            if not journal.mark_dispatched(
                session,
                record.id,
                record.attempt,
                patience=self._limits.patience_after(record.silent_attempts),
                look_after=self._limits.look_after,
            ):
                return True
            ids = self._messages.task_ids(record.id, record.attempt, kind.branches)
            journal.insert_branches(session, record.id, record.attempt, ids)
            reach("attempt.before_commit", session)
        reach("attempt.after_commit")
        ready = self.read(record.id)
        if ready.decided or ready.attempt != record.attempt:
            return True  # somebody has decided or given it up in the meantime
        return self._send_attempt(ready)

    def read(self, transaction: UUID) -> TransactionRecord:
        """The transaction as the journal has it. Raises Impossible for one that was never accepted here."""
        with Session(self._engine) as session:
            return self._in(session, transaction)

    def _in(self, session: Session, transaction: UUID) -> TransactionRecord:
        record = records.read(session, transaction)
        if record is None:
            raise Impossible(f"transaction {transaction} is not in this journal")
        return record
