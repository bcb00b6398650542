"""Verifications that other services ask for: their databases have come back older than they were."""

from __future__ import annotations

import logging
import threading
import time
from datetime import datetime

from atomic_commit.errors import AtomicCommitError
from atomic_commit.verify.verification import Verification

log = logging.getLogger(__name__)

#: Seconds before each further try, where the service did not answer or the own database is away.
_PAUSES = (5.0, 30.0, 120.0)


class Background:
    """One after the other, in a thread of its own that lives as long as there is something to do.

    What is asked for is kept in this process only. Where that ends before it is done, the service that has forgotten
    tells it once more (``AtomicCommit.watch``).
    """

    def __init__(self, verification: Verification) -> None:
        self._verification = verification
        self._lock, self._wanted = threading.Lock(), dict[str, datetime]()
        self._thread: threading.Thread | None = None

    def against(self, service: str, since: datetime) -> None:
        """Have what was done together with this service since then compared, soon."""
        with self._lock:
            self._wanted[service] = min(since, self._wanted.get(service, since))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="verify", daemon=True)
                self._thread.start()

    def join(self, timeout: float) -> bool:
        """Wait until there is nothing left to do. False if there still is."""
        thread = self._thread
        if thread:
            thread.join(timeout)
        return self._thread is None

    def _run(self) -> None:
        while (wanted := self._next()) is not None:
            self._verify(*wanted)

    def _next(self) -> tuple[str, datetime] | None:
        with self._lock:
            if self._wanted:
                return self._wanted.popitem()
            self._thread = None
            return None

    def _verify(self, service: str, since: datetime) -> None:
        words = ""
        for pause in (0.0, *_PAUSES):
            time.sleep(pause)
            try:
                verified = self._verification.run(since, [service])
            except AtomicCommitError as error:
                words = str(error)
            except Exception as error:
                log.exception("verify against %s failed", service)
                words = f"{type(error).__name__}: {error}"
                break
            else:
                if not verified.silent:
                    log.warning("verified against %s since %s: %d lost", service, verified.since, verified.lost)
                    return
                words = verified.silent[service]
        log.critical("%s may have forgotten something, and could not be asked: type verify. (%s)", service, words)
