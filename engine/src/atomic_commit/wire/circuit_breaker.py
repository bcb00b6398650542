"""What hangs is not asked again for a moment, so that one hanging server costs one time-out and not one a call."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from atomic_commit.errors import Lost, is_transport_error

#: A call that failed after less than this (seconds) failed at once: refused, not hanging. Such a call costs nothing.
_AT_ONCE = 0.5
#: Seconds for which a server that hung is left alone.
_LEFT_ALONE = 3.0


class CircuitBreaker:
    """Remembers that one server hung. A circuit breaker (Nygard, "Release It!", 2007) that closes by itself."""

    def __init__(self, what: str) -> None:
        self._what, self._until, self._lock = what, 0.0, threading.Lock()

    @contextmanager
    def asked(self) -> Iterator[None]:
        """Around one call. Raises Lost instead of calling while the server is left alone."""
        if time.monotonic() < self._until:
            raise Lost(f"{self._what} hung a moment ago")
        began = time.monotonic()
        try:
            yield
        except Exception as error:
            if is_transport_error(error) and time.monotonic() - began > _AT_ONCE:
                with self._lock:
                    self._until = time.monotonic() + _LEFT_ALONE
            raise
