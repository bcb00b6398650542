"""Something that is done again and again beside the tasks, in a thread of its own."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable

from atomic_commit.errors import Conflict, Lost

log = logging.getLogger(__name__)


class Repeated:
    """`function` is called about every so many seconds (jittered by half, so that workers spread out) until ``stop``.

    A database that can't be reached now is asked the next time (recovery says so); anything else that it raises is
    logged.
    """

    def __init__(self, name: str, function: Callable[[], object], seconds: float) -> None:
        self._name, self._function, self._seconds = name, function, seconds
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Let the call that is under way be the last. Does not wait for it."""
        self._stop.set()

    def is_well(self) -> bool:
        """Whether the thread lives, if it was started."""
        return self._thread is None or self._thread.is_alive()

    def _run(self) -> None:
        while not self._stop.wait(self._seconds * random.uniform(0.5, 1.5)):
            try:
                self._function()
            except (Lost, Conflict):
                pass
            except Exception:
                log.exception("%s failed", self._name)
