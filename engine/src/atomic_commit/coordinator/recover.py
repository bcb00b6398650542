"""Recovery: finds what messages have not finished, and does what the rows say.

Every outcome worker runs one sweeper, at its start and then about every half second, jittered so that they spread out.
There is no scheduler that could fail: any one outcome worker of a service recovers everything that this service
coordinates. Two sweepers never hold the same transaction (a claim with SKIP LOCKED), and each transaction is handled
alone, so that one that can't be handled holds nobody up.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from uuid import UUID

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from atomic_commit import journal
from atomic_commit.coordinator.coordinator import Coordinator
from atomic_commit.errors import Conflict, Impossible, Lost
from atomic_commit.journal.records import UNEXPECTED
from atomic_commit.journal.retention import remove_old
from atomic_commit.limits import Limits
from atomic_commit.postgres.database import translated_errors
from atomic_commit.testing.failpoints import reach

log = logging.getLogger(__name__)

#: Transactions claimed by one query; a sweep goes on until nothing is due.
_BATCH = 50
#: Seconds between two looks for rows that are past their age.
_CLEAN_EVERY = 60.0
#: Seconds between the looks at one transaction, by how often it was looked at.
PAUSES = (0.5, 0.5, 1.0, 1.0, 2.0, 2.0, 4.0)
#: The same where only answers of participants are missing. They may be away for long, and each repetition is a message
#: that they find when they are back; that they are back they say themselves (``Messages.announce``).
OWED_PAUSES = (0.5, 0.5, 1.0, 1.0, *(2.0**step for step in range(1, 12)), 3600.0)


class Sweeper:
    """Looks again at every unsettled transaction of one coordinator."""

    def __init__(
        self, engine: Engine, coordinator: Coordinator, limits: Limits, announce: Callable[[], object] = lambda: None
    ) -> None:
        """`announce()` is called once the database is reached, at the start and after every time that it was away."""
        self._engine, self._coordinator, self._limits = engine, coordinator, limits
        self._announce = announce
        # Twice what a look is put off by, so that a service configured otherwise causes no looks without end.
        self._farthest = 2 * max(*PAUSES, limits.look_after, limits.backoff_cap)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._troubled = False

    def start(self) -> None:
        """Sweep in a thread of its own until ``stop``."""
        self._thread = threading.Thread(target=self._run, name="sweeper", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Finish the look that is under way and end the thread."""
        self._stop.set()
        if self._thread:
            self._thread.join(timeout=10)

    def is_well(self) -> bool:
        """Whether the thread lives, if it was started."""
        return self._thread is None or self._thread.is_alive()

    def sweep(self) -> int:
        """Dispatch what waits, and look once at every transaction that is due. Returns how many were looked at.

        Stops early when the broker can't be reached: the rest stays due and nothing is gained by trying each one.
        """
        if not self._dispatch():
            return 0
        looked: set[UUID] = set()
        while not self._stop.is_set():
            reach("sweep.before_claim")
            claimed = self._claim()
            if claimed:
                reach("sweep.after_claim")
            again = looked.intersection(transaction for transaction, _ in claimed)
            for transaction, overdue in claimed:
                if not self._look(transaction, overdue):
                    self._put_back([id for id, _ in claimed if id not in looked])
                    return len(looked) + 1
                looked.add(transaction)
                reach("sweep.after_look")
            # When slow looks have made the first ones due again, the next sweep is soon enough for them.
            if again or len(claimed) < _BATCH:
                return len(looked)
        return len(looked)

    def _run(self) -> None:
        fresh, cleaned = True, time.monotonic()
        while not self._stop.is_set():
            try:
                if fresh:
                    self._make_all_due()
                self.sweep()
                if fresh or self._troubled:
                    self._announce()
                fresh = False
                self._tell_trouble(None)
                if time.monotonic() - cleaned > _CLEAN_EVERY * random.uniform(0.5, 1.5):
                    while remove_old(self._engine, self._limits) and not self._stop.is_set():
                        pass
                    cleaned = time.monotonic()
            except (Lost, Conflict) as error:
                self._tell_trouble(error)
            except Exception:
                log.exception("sweep failed")
            self._stop.wait(self._limits.sweep_interval * random.uniform(0.5, 1.5))

    def _dispatch(self) -> bool:
        """Dispatch what waits. Returns False if the broker can't be reached; of other trouble, the looks go on."""
        try:
            with translated_errors():
                return self._coordinator.dispatch_all()
        except (Conflict, Lost):
            raise
        except Exception:
            log.exception("who waits can't be dispatched for now")
            return True

    def _look(self, transaction: UUID, overdue: float) -> bool:
        """Look at one transaction; whatever goes wrong with it stays its own trouble."""
        try:
            with translated_errors():
                return self._coordinator.look(transaction, unwatched=overdue > self._limits.unwatched)
        except (Conflict, Lost) as error:
            log.warning("transaction %s: %s; looked at again later", transaction, error)
            self._put_back([transaction])
        except Impossible as error:
            self._quarantine(transaction, str(error))
        except Exception as error:
            log.exception("transaction %s can't be recovered for now", transaction)
            self._record_failure(transaction, f"{UNEXPECTED}{type(error).__name__}: {error}")
        return True

    def _put_back(self, transactions: Sequence[UUID]) -> None:
        """These looks did not count: nobody was told anything. They are due again in a moment."""
        try:
            with Session(self._engine) as session, session.begin():
                journal.put_back(session, transactions, self._limits.look_after)
        except Exception as error:  # they are looked at later, then
            log.warning("looks that did not count can't be put back: %s", error)

    def _record_failure(self, transaction: UUID, words: str) -> None:
        """Note an unexpected error; after enough of them quarantine the transaction."""
        try:
            with Session(self._engine) as session, session.begin():
                failures = journal.record_error(session, transaction, words)
        except Exception:
            log.exception("transaction %s: its error can't be noted", transaction)
            return
        if failures >= self._limits.quarantine_after:
            self._quarantine(transaction, words)

    def _quarantine(self, transaction: UUID, words: str) -> None:
        try:
            self._coordinator.quarantine(transaction, words)
        except Exception:
            log.exception("transaction %s can't be quarantined for now", transaction)

    def _claim(self) -> list[tuple[UUID, float]]:
        with translated_errors(), Session(self._engine) as session, session.begin():
            return journal.claim_due(session, _BATCH, PAUSES, OWED_PAUSES, self._farthest)

    def _make_all_due(self) -> None:
        with translated_errors(), Session(self._engine) as session, session.begin():
            journal.make_all_due(session)

    def _tell_trouble(self, error: Exception | None) -> None:
        """Say once that the database can't be swept, and once that it can again."""
        if error and not self._troubled:
            log.warning("recovery waits for its database: %s", error)
        elif not error and self._troubled:
            log.info("recovery reaches its database again")
        self._troubled = error is not None
