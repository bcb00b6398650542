"""Acceptance: the local transactions by which transactions begin.

One that comes while nobody is at it begins by itself. Who comes while somebody is waits for the next turn, and all who
wait begin in one local transaction, with one flush; nobody waits for company. Whatever goes wrong with them together is
nobody's answer: then each begins by itself and gets its own.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from atomic_commit import journal
from atomic_commit.coordinator.attempts import Attempts
from atomic_commit.declare import TransactionKind, Values
from atomic_commit.errors import Conflict, Impossible, Lost, is_lost
from atomic_commit.journal.records import IdempotencyKey, TransactionRecord
from atomic_commit.postgres.confirmed import Confirmation
from atomic_commit.postgres.database import translated_errors
from atomic_commit.testing.failpoints import reach

log = logging.getLogger(__name__)

#: Most that begin in one local transaction.
_MOST = 64
#: How long they wait for a lock together: whoever needs more waits by itself.
_SHORT_WAIT = text("SET LOCAL lock_timeout = 20")
#: Seconds for which it is asked whether a begin has happened. A server that is restarted is back by then.
_ASKED_FOR = 5.0
#: Seconds between two such questions.
_ASKED_EVERY = 0.2


@dataclass
class _Newcomer:
    """One that is to begin."""

    transaction: UUID
    arguments: Values
    key: IdempotencyKey | None
    #: What it is once its local transaction was about to commit; whether that is certain.
    record: TransactionRecord | None = None
    certain: bool = False
    done: bool = False


class Acceptance:
    """Where transactions of one kind begin, in one process."""

    def __init__(self, engine: Engine, kind: TransactionKind, attempts: Attempts) -> None:
        self._engine, self._kind, self._attempts = engine, kind, attempts
        self._confirmation = Confirmation(engine)
        self._lock, self._turn = threading.Lock(), threading.Lock()
        self._somebody_begins = False
        self._wait: list[_Newcomer] = []

    def accept(self, transaction: UUID, arguments: Values, key: IdempotencyKey | None) -> TransactionRecord:
        """Accept a transaction. See ``Coordinator.begin`` for what it raises, and IntegrityError where the idempotency
        key is taken."""
        newcomer = _Newcomer(transaction, arguments, key)
        if self._kind.begin_batch is None:
            return self._begin(newcomer)
        if self._first_to_come():
            try:
                return self._begin(newcomer)
            finally:
                self._somebody_begins = False
        return self._begin_in_company(newcomer)

    def _first_to_come(self) -> bool:
        with self._lock:
            first, self._somebody_begins = not self._somebody_begins, True
        return first

    # ---- by itself

    def _begin(self, newcomer: _Newcomer) -> TransactionRecord:
        with translated_errors(), Session(self._engine) as session:
            reach("begin.before_accept", session)
            values = self._kind.begin(session, newcomer.transaction, newcomer.arguments)
            newcomer.record = self._attempts.accept(session, newcomer.transaction, self._kind, values, newcomer.key)
            reach("begin.before_commit", session)
            self._commit(session, [newcomer])
        reach("begin.after_commit")
        return self._accepted(newcomer, newcomer.record)

    # ---- together

    def _begin_in_company(self, newcomer: _Newcomer) -> TransactionRecord:
        with self._lock:
            self._wait.append(newcomer)
        while not newcomer.done:
            with self._turn:
                if not newcomer.done:
                    self._next_together()
        if newcomer.record is None:
            return self._begin(newcomer)
        return self._accepted(newcomer, newcomer.record)

    def _next_together(self) -> None:
        with self._lock:
            together, self._wait = self._wait[:_MOST], self._wait[_MOST:]
        try:
            self._begin_batch(together)
        except Exception as error:
            log.info("%s: %d can't begin together: %s", self._kind.name, len(together), error)
        finally:
            for newcomer in together:
                newcomer.done = True

    def _begin_batch(self, together: Sequence[_Newcomer]) -> None:
        assert self._kind.begin_batch
        with translated_errors(), Session(self._engine) as session:
            reach("begin.before_accept", session)
            session.execute(_SHORT_WAIT)
            arguments = {one.transaction: one.arguments for one in together}
            values = self._kind.begin_batch(session, arguments)
            if values.keys() != arguments.keys():
                raise Impossible(f"{self._kind.name}: what begins together has not answered for each and nobody else")
            keys = {one.transaction: one.key for one in together}
            records = self._attempts.accept_waiting(session, self._kind, values, keys)
            reach("begin.before_commit", session)
            for one in together:
                one.record = records[one.transaction]
            self._commit(session, together)
        reach("begin.after_commit")

    # ---- whether it has happened

    def _commit(self, session: Session, newcomers: Sequence[_Newcomer]) -> None:
        """Commit. Where that is not answered each of them has to find out whether it has happened."""
        try:
            session.commit()
        except DBAPIError as error:
            if not is_lost(error):
                for newcomer in newcomers:
                    newcomer.record = None
                raise
            return
        for newcomer in newcomers:
            newcomer.certain = True

    def _accepted(self, newcomer: _Newcomer, record: TransactionRecord) -> TransactionRecord:
        if not newcomer.certain and not self._was_accepted(newcomer.transaction):
            raise Conflict("the database went away before it was accepted")
        return record

    def _was_accepted(self, transaction: UUID) -> bool:
        """Whether a begin whose commit was not answered has happened.

        Reading would not tell: the server may still be at it. So the row's place is taken by a settled one: while the
        lost begin is under way that insertion waits for it, and once it has succeeded the begin can't happen any more.
        Raises Lost where the database stays away: then only the transaction's URL will tell.
        """
        end = time.monotonic() + _ASKED_FOR
        while True:
            try:
                with translated_errors(), Session(self._engine) as session, session.begin():
                    taken = journal.take_place(session, transaction, self._kind.name)
                self._confirmation.wait()  # a row that is there may be one whose commit was not confirmed
                return not taken
            except Exception as again:  # whatever it is: nothing that is known may hide that this is not known
                if time.monotonic() >= end:
                    raise Lost("the commit was not answered", transaction) from again
            time.sleep(_ASKED_EVERY)
