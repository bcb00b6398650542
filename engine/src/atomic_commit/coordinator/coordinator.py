"""The coordinator: begins transactions, has them decided, and sees them settled.

Each public verb is one step of the protocol, safe to repeat and to interrupt anywhere; what a step leaves undone is
found in the journal by recovery, which calls the same verbs.

``begin``       local transaction: checks, marks, journal row. From its commit on the request is never lost.
``dispatch``    transactions that wait go into attempts, as many as may be under way (``attempts.py``).
``decide``      one local transaction: the conditional update together with the local change (``decide.py``).
``acknowledge`` a participant has answered; the last answer settles the attempt, and what waited for that goes.
``hear``        a participant has testified what it knows, to a coordinator that may have forgotten (``ask.py``).
``look``        whatever the rows say is still to be done for one transaction.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from uuid import UUID, uuid4

from sqlalchemy import Engine
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from atomic_commit import journal
from atomic_commit.coordinator.ask import Asking
from atomic_commit.coordinator.attempts import Attempts
from atomic_commit.coordinator.begin import Begin
from atomic_commit.coordinator.begin_batch import BeginBatch
from atomic_commit.coordinator.coalesce import Coalescer
from atomic_commit.coordinator.decide import Decider
from atomic_commit.coordinator.known_databases import KnownDatabases
from atomic_commit.declare import TransactionKind, Values
from atomic_commit.errors import AtomicCommitError, Conflict, Impossible, KeyReused, KeyTaken, Lost
from atomic_commit.journal import asking, records
from atomic_commit.journal.records import Attempt, IdempotencyKey, Outcome, TransactionRecord, attempt_of
from atomic_commit.limits import Limits
from atomic_commit.names import service_of
from atomic_commit.postgres.confirmed import Confirmation
from atomic_commit.postgres.database import autocommit, translated_errors
from atomic_commit.testing.failpoints import reach
from atomic_commit.wire.hand_over import Answer, HandedOn, Testified
from atomic_commit.wire.messages import Messages

log = logging.getLogger(__name__)


class Coordinator:
    """The transactions that one service starts, on its database (`engine`)."""

    def __init__(
        self,
        engine: Engine,
        messages: Messages,
        kinds: Iterable[TransactionKind],
        limits: Limits,
        databases: KnownDatabases,
    ) -> None:
        self._engine, self._reads, self._messages = engine, autocommit(engine), messages
        self.databases, self._confirmation = databases, Confirmation(engine)
        self._kinds = {kind.name: kind for kind in kinds}
        # Twice the longest pause, so that a service configured otherwise is not hurried without end.
        self._farthest = 2 * limits.backoff_cap
        self._after_begin = {name: Coalescer(limits.sweep_interval) for name in self._kinds}
        self.attempts = Attempts(engine, messages, limits)
        self.decider = Decider(engine, messages, self._kinds, limits, databases)
        self.asking = Asking(engine, messages, self._kinds, limits)
        begins = {name: Begin(engine, messages, kind, limits) for name, kind in self._kinds.items()}
        self._begin: dict[str, Begin | BeginBatch] = {
            name: BeginBatch(begin) if begin.kind.begin_batch else begin for name, begin in begins.items()
        }

    # ---- begin

    def begin(self, kind_name: str, arguments: Values, key: IdempotencyKey | None = None) -> TransactionRecord:
        """Accept a transaction, or join the one that was accepted under the same idempotency key.

        Raises Refused or Missing (the kind's begin said no), Paused, Conflict (a row was locked for too long),
        KeyReused, or Lost. Then nothing was accepted and nothing is left behind, but for two kinds of Lost. One names a
        transaction: the database went away during the commit, and only that transaction's URL can tell whether it was
        accepted. The other is KeyTaken: an earlier request with this key was accepted. Once a transaction is accepted
        nothing raises.
        """
        if key and (earlier := self._joined(key)):
            return earlier
        try:
            record = self._begin[kind_name].one(uuid4(), arguments, key)
        except (AtomicCommitError, IntegrityError) as error:
            # A request with the same key may have won the race in the meantime: then this one joins it.
            if key and (earlier := self._joined_after(error, key)):
                return earlier
            raise
        self._set_out(kind_name, record)
        return record

    def _joined_after(self, error: Exception, key: IdempotencyKey) -> TransactionRecord | None:
        """``_joined``, for a request that was not accepted because of `error`. If the journal can't be read either, the
        caller still learns what `error` knows: which transaction may be accepted, or that the key is taken."""
        try:
            return self._joined(key)
        except KeyReused:
            raise
        except Exception as failed:
            if isinstance(error, Lost) and error.transaction:
                log.warning("transaction %s: its key can't be asked for now: %s", error.transaction, failed)
                return None
            if isinstance(error, IntegrityError):
                raise KeyTaken("an earlier request with this key was accepted, and can't be read now") from failed
            raise

    def _set_out(self, kind_name: str, record: TransactionRecord) -> None:
        """Send an accepted transaction on its way. Whatever goes wrong, it stays accepted, and recovery sends it."""
        try:
            if not record.waiting:
                self.attempts.send(attempt_of([record]))
            # Also when this one was sent: others may have come meanwhile, and given up their turn to dispatch.
            self._after_begin[kind_name].do(lambda: self._dispatch_if_possible(kind_name))
        except Exception:
            log.exception("transaction %s is accepted and waits for recovery", record.id)

    def _joined(self, key: IdempotencyKey) -> TransactionRecord | None:
        with translated_errors(), Session(self._reads) as session:
            earlier = records.read_by_key(session, key)
        if earlier and earlier.fingerprint != key.fingerprint:
            raise KeyReused("This Idempotency-Key was used before with another request.")
        return earlier

    # ---- attempts

    def dispatch(self, kind_name: str) -> bool:
        """Make attempts of the transactions that wait, as many as may be under way, and send them. Returns False if the
        broker could not be reached.

        It follows every begin, every decision and every settlement, and every sweep does it.
        """
        while (attempt := self.attempts.next(self._kinds[kind_name])) is not None:
            if attempt.branches:
                if not self.attempts.send(attempt):
                    return False
            elif self.decider.abort(attempt):
                self._settle(self.read(attempt.leader))
        return True

    def _dispatch_if_possible(self, kind_name: str) -> None:
        """``dispatch`` for a caller whose own step is committed already. What goes wrong here mostly concerns another
        transaction: it is logged, not raised, and the next sweep dispatches."""
        try:
            with translated_errors():
                self.dispatch(kind_name)
        except (Conflict, Lost) as error:
            log.warning("%s: who waits does not go yet: %s", kind_name, error)
        except Exception:
            log.exception("%s: who waits does not go yet", kind_name)

    def dispatch_all(self) -> bool:
        """``dispatch`` for every kind that has a transaction waiting. False if the broker could not be reached."""
        with Session(self._reads) as session:
            kinds = journal.kinds_that_wait(session)
        for unknown in kinds - self._kinds.keys():
            with Session(self._engine) as session, session.begin():
                ids = journal.quarantine_kind(session, unknown, f"nobody here knows the kind {unknown!r}")
            if ids:
                log.critical("of the unknown kind %s, QUARANTINED: %s", unknown, ", ".join(map(str, ids)))
        if kinds:
            with Session(self._engine) as session, session.begin():
                journal.bring_forward(session, kinds, self._farthest)
        return all(self.dispatch(kind) for kind in kinds & self._kinds.keys())

    # ---- decide

    def decide(self, leader: UUID, number: int, handed_on: HandedOn | None = None) -> Outcome | None:
        """Decide about an attempt, if it can be decided, and tell its participants. See ``Decider.decide``. Returns
        what was decided by this call, if anything."""
        decided = self.decider.decide(leader, number, handed_on)
        if decided is None:
            return None
        attempt, outcome = decided
        self._messages.send_outcomes(attempt.told(outcome), attempt.read_at)
        self._dispatch_if_possible(attempt.kind)
        return outcome

    # ---- settle

    def acknowledge(self, leader: UUID, number: int, branch: str, answer: Answer) -> None:
        """Record a participant's answer. The last one settles the attempt, and its members that are to be tried again
        are dispatched."""
        if answer is Answer.IMPOSSIBLE:
            self._contradicted(leader, number, branch)
            return
        with Session(self._engine) as session, session.begin():
            journal.record_settled_branch(session, leader, number, branch)
            kind_that_waits = journal.record_settled(session, leader)
            reach("acknowledge.before_commit", session)
        reach("acknowledge.after_commit")
        if kind_that_waits:
            self._dispatch_if_possible(kind_that_waits)

    def _contradicted(self, leader: UUID, number: int, branch: str) -> None:
        """A participant was told to roll back what it has committed, or to commit what is not there."""
        with Session(self._engine) as session, session.begin():
            told = asking.read_branch(session, leader, number, branch)
            committed = told is not None and told.outcome is Outcome.ROLLBACK
            asked = asking.ask_about_attempt(session, leader, number) if committed else set()
        if asked:
            log.warning("%s of attempt %d of %s is committed: that proves the decision", branch, number, leader)
            return
        words = (
            "is committed there, and was to be rolled back" if committed else "is not there, and was to be committed"
        )
        self.quarantine(leader, f"{branch} of attempt {number} {words}")

    def tell_again(self, leader: UUID, number: int, branch: str, epoch: str | None) -> None:
        """A commit was void at its participant, which takes them in this epoch: where the journal, as it is now, says
        so (answered or not), it is sent again. Of what is not in there nothing is: whoever stands prepared will ask.
        """
        self._messages.learn_epoch(service_of(branch), epoch)
        with Session(self._reads) as session:
            told, now = asking.read_branch(session, leader, number, branch), records.now(session)
        if told is not None and told.outcome is Outcome.COMMIT:
            self._confirmation.wait()
            self._messages.send_outcomes([told], now)

    def hear(self, transaction: UUID, attempt: int, kind: str, service: str, said: Testified, life: str | None) -> None:
        """A participant has testified, to this life of the database (see ``ask``). What can't be made whole is
        quarantined."""
        try:
            self.asking.hear(transaction, attempt, kind, service, said, life)
        except Impossible as error:
            self.quarantine(transaction, str(error))

    def participant_is_back(self, service: str) -> None:
        """A participant says that it can answer again: every outcome that it has not answered is sent at once."""
        with Session(self._engine) as session, session.begin():
            owed = journal.bring_owed_forward(session, service)
        if owed:
            log.info("%s is back; it owes answers in %d transactions", service, owed)

    def quarantine(self, transaction: UUID, error: str) -> None:
        """Quarantine what can't be settled, loudly. Its decision stands; a person has to look."""
        log.critical("transaction %s is QUARANTINED: %s", transaction, error)
        with Session(self._engine) as session, session.begin():
            journal.record_quarantine(session, transaction, error)

    # ---- look again

    def look(self, transaction: UUID, *, unwatched: bool = False) -> bool:
        """Do whatever the rows say is still to be done. Returns False if the broker could not be reached.

        `unwatched`: nobody has looked for so long that the silence of branches proves nothing.
        """
        record = self.read(transaction)
        if record.asking_since and not record.decided:
            return self.asking.look(record)
        if record.decided or record.waiting:
            return self._settle(record) and (record.decided or self.dispatch(record.kind))
        attempt = self._attempt_of(record)
        if attempt is None:
            return True  # it has been decided or given up in the meantime
        if not attempt.branches:
            return self._abort_late(attempt)
        if unwatched or self.attempts.clock_was_moved_back(attempt):
            self.attempts.restart_clocks(attempt)
        if not attempt.dispatched and not attempt.deadline_over:
            return self.attempts.send_again(attempt)
        self.decide(attempt.leader, attempt.number)
        return True

    def _abort_late(self, attempt: Attempt) -> bool:
        """Abort an attempt without branches, which was made only for that. (See ``Attempts.next``.)"""
        if not all(member.late for member in attempt.members):
            raise Impossible(f"{attempt} was dispatched, and its branches are not in the journal")
        self.decider.abort(attempt)
        return self._settle(self.read(attempt.leader))

    def _settle(self, record: TransactionRecord) -> bool:
        """Ask for the answers that are owed; if none are, it is settled."""
        if record.owed_branches:
            # It may have been decided by somebody whose commit was not confirmed.
            self._confirmation.wait()
            return self._messages.send_outcomes(record.owed_branches, record.read_at)
        with Session(self._engine) as session, session.begin():
            journal.record_settled(session, record.led_by[0])
        return True

    def _attempt_of(self, record: TransactionRecord) -> Attempt | None:
        with Session(self._reads) as session:
            return records.read_attempt(session, *record.led_by)

    def read(self, transaction: UUID) -> TransactionRecord:
        """The transaction as the journal has it. Raises Impossible for one that was never accepted here."""
        with Session(self._reads) as session:
            record = records.read(session, transaction)
        if record is None:
            raise Impossible(f"transaction {transaction} is not in this journal")
        return record
