"""Those who come while another one of their kind begins, begin in one local transaction, with one flush.

One that comes while nobody is at it begins by itself. Who comes while somebody is waits for the next turn; nobody waits
for company. Whatever goes wrong with them together is nobody's answer: then each begins by itself and gets its own.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from atomic_commit import journal
from atomic_commit.coordinator.begin import Begin, answered_commit
from atomic_commit.declare import Values
from atomic_commit.errors import Impossible
from atomic_commit.journal.records import IdempotencyKey, TransactionRecord
from atomic_commit.postgres.database import translated_errors
from atomic_commit.testing.failpoints import reach

log = logging.getLogger(__name__)

#: Most that begin in one local transaction.
_MOST = 64
#: How long they wait for a lock together: whoever needs more waits by itself.
_SHORT_WAIT = text("SET LOCAL lock_timeout = 20")


@dataclass
class _Newcomer:
    """One that is to begin with others."""

    transaction: UUID
    arguments: Values
    #: None where the client gave no idempotency key
    key: IdempotencyKey | None
    #: as it was accepted, if the commit for all of them has happened; None until then, and where it begins by itself
    record: TransactionRecord | None = None
    #: whether that commit was answered
    certain: bool = False
    #: whether it has had its turn
    done: bool = False


class BeginBatch:
    """Where transactions of one kind begin that may begin with others."""

    def __init__(self, begin: Begin) -> None:
        self._begin = begin
        self._lock, self._turn = threading.Lock(), threading.Lock()
        self._somebody_begins = False
        self._wait: list[_Newcomer] = []

    def one(self, transaction: UUID, arguments: Values, key: IdempotencyKey | None) -> TransactionRecord:
        """As ``Begin.one``."""
        if not self._first_to_come():
            return self._in_company(_Newcomer(transaction, arguments, key))
        try:
            return self._begin.one(transaction, arguments, key)
        finally:
            self._somebody_begins = False

    def _first_to_come(self) -> bool:
        with self._lock:
            first, self._somebody_begins = not self._somebody_begins, True
        return first

    def _in_company(self, newcomer: _Newcomer) -> TransactionRecord:
        with self._lock:
            self._wait.append(newcomer)
        while not newcomer.done:
            with self._turn:
                if not newcomer.done:
                    self._next()
        if newcomer.record is None:
            return self._begin.one(newcomer.transaction, newcomer.arguments, newcomer.key)
        return newcomer.record if newcomer.certain else self._begin.known(newcomer.record)

    def _next(self) -> None:
        with self._lock:
            batch, self._wait = self._wait[:_MOST], self._wait[_MOST:]
        try:
            self._all_of(batch)
        except Exception as error:
            log.info("%s: %d can't begin together: %s", self._begin.kind.name, len(batch), error)
        finally:
            for newcomer in batch:
                newcomer.done = True

    def _all_of(self, batch: Sequence[_Newcomer]) -> None:
        kind, limits = self._begin.kind, self._begin.limits
        assert kind.begin_batch
        with translated_errors(), Session(self._begin.engine) as session:
            reach("begin.before_accept", session)
            session.execute(_SHORT_WAIT)
            arguments = {one.transaction: one.arguments for one in batch}
            values = kind.begin_batch(session, arguments)
            if values.keys() != arguments.keys():
                raise Impossible(f"{kind.name}: what begins together has not answered for each and nobody else")
            keys = {one.transaction: one.key for one in batch}
            records = journal.insert_waiting(
                session, kind.name, values, keys, deadline=limits.deadline, patience=limits.patience_after(0)
            )
            reach("begin.before_commit", session)
            certain = answered_commit(session)
            for one in batch:
                one.record, one.certain = records[one.transaction], certain
        reach("begin.after_commit")
