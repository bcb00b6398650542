"""Waiting for decisions: one thread per process asks for all waiting requests at once.

The row is what is waited for. The decision's AsyncResult could be waited for as well, but the row is committed before
that result is stored, so it always answers first, and it still answers when the result backend does not. One query for
all waiters keeps the cost the same for one waiting client and for thirty, and no request holds a database connection
while it waits. When to look the database tells (``notices``).
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, field
from functools import cached_property
from uuid import UUID

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from atomic_commit.journal import records
from atomic_commit.journal.records import TransactionRecord
from atomic_commit.postgres.confirmed import Confirmation
from atomic_commit.postgres.database import autocommit
from atomic_commit.postgres.notices import Notices

log = logging.getLogger(__name__)

#: Seconds between two looks while notices come; while they do not, often at first and then less often; while the
#: database does not answer.
_HEARING, _EAGER, _CALM, _EAGER_FOR, _AWAY = 0.1, 0.005, 0.025, 0.25, 0.5
#: Seconds for which nobody has waited, after which nobody listens any more.
_LISTENS_FOR = 2.0
#: Nobody new is a reason to look sooner than so many times as long as the look before took.
_SHARE = 8


class DecisionWatch:
    """Wakes whoever waits for a transaction's decision, and for what follows from it."""

    def __init__(self, engine: Engine) -> None:
        self._engine, self._reads, self._confirmation = engine, autocommit(engine), Confirmation(engine)
        self._lock = threading.Condition()
        self._waiting: dict[UUID, list[_Waiter]] = {}
        self._youngest = 0.0
        self._new = False
        self._thread: threading.Thread | None = None

    @cached_property
    def _notices(self) -> Notices:
        """Made by the first who waits, under the lock: most processes have nobody who does."""
        return Notices(self._engine)

    def wait(self, transaction: UUID, seconds: float, moment: float) -> TransactionRecord | None:
        """Return the transaction when it is aborted; when it is committed and every participant has answered, or
        `moment` seconds after it was seen committed. None after `seconds`: the caller reads how far it is."""
        waiter = _Waiter(moment)
        with self._lock:
            self._waiting.setdefault(transaction, []).append(waiter)
            self._youngest, self._new = time.monotonic(), True
            notices = self._notices
            if not (self._thread and self._thread.is_alive()):
                self._thread = threading.Thread(target=self._run, name="decision-watch", daemon=True)
                self._thread.start()
            self._lock.notify()
        notices.wake()
        waiter.event.wait(seconds)
        with self._lock:
            self._forget(transaction, waiter)
        return waiter.record

    def _run(self) -> None:
        while True:
            with self._lock:
                while not self._waiting:
                    if not self._lock.wait(_LISTENS_FOR):
                        self._notices.stop()
                asked, self._new = list(self._waiting), False
                eager = time.monotonic() - self._youngest < _EAGER_FOR
            began = time.monotonic()
            try:
                # Listened to before the look: what is over after it is told.
                longest = _HEARING if self._notices.listen() else _EAGER if eager else _CALM
                self._wake(asked)
            except Exception as error:  # the database may be away; the waiters have their own time limit
                log.warning("decisions can't be read: %s", error)
                longest = _AWAY
            # On a machine that has much to do, looking must not take what the work itself needs. (A look that waited
            # long for a standby has taken nothing.)
            self._pause(min(max(_EAGER, _SHARE * (time.monotonic() - began)), _AWAY), longest)

    def _pause(self, least: float, longest: float) -> None:
        """Until something is over, or until somebody new waits but for `least` seconds, or for `longest`."""
        if not self._notices.wait(least, wakes=False) and not self._new:
            self._notices.wait(longest - least, wakes=True)

    def _wake(self, asked: list[UUID]) -> None:
        with Session(self._reads) as session:
            decided = records.decided_among(session, asked)
        if decided:
            self._confirmation.wait()  # nobody is told what a failover may take back
        with self._lock:
            for record in decided:
                for waiter in list(self._waiting.get(record.id, ())):
                    if record.over or waiter.has_waited():
                        waiter.record = record
                        waiter.event.set()
                        self._forget(record.id, waiter)

    def _forget(self, transaction: UUID, waiter: _Waiter) -> None:
        waiters = self._waiting.get(transaction, [])
        if waiter in waiters:
            waiters.remove(waiter)
        if not waiters:
            self._waiting.pop(transaction, None)


@dataclass(eq=False)
class _Waiter:
    """One request that waits."""

    #: seconds that participants are given to answer once it is committed
    moment: float
    #: set when `record` is there
    event: threading.Event = field(default_factory=threading.Event)
    #: None until there is what it waits for
    record: TransactionRecord | None = None
    #: when its decision was first seen, by the monotonic clock; None until then
    _decided: float | None = None

    def has_waited(self) -> bool:
        """Whether the decision has been known for the moment that participants are given. Asked once it is known."""
        self._decided = self._decided or time.monotonic()
        return time.monotonic() >= self._decided + self.moment
