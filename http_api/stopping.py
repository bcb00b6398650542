"""The moment between the wish to stop and the stop, in which whoever is in front learns to send nothing more.

A listener that closes resets the connections that nobody has accepted yet, and a request may be on one of them already:
whoever sent it cannot know that nobody read it. So an API that is told to stop first says so (`/livez` answers 503) and
serves on for `WEB_DRAIN` seconds; when it closes its door, no request comes any more.
"""

from __future__ import annotations

import mmap
import os
import signal
from collections.abc import Callable

#: Shared with the processes that are forked from the one that imported this first.
_stops = mmap.mmap(-1, 1)


def is_stopping() -> bool:
    """The process, or the one that it was forked from, was told to stop."""
    return _stops[0] == 1


def say_so_before(stop: Callable[[], None]) -> None:
    """From now on SIGTERM lets `WEB_DRAIN` seconds pass before it calls `stop`; a second one does not wait.

    Without that variable nothing is changed.
    """
    seconds = float(os.environ.get("WEB_DRAIN", "0"))
    if not seconds:
        return

    def told(*_: object) -> None:
        if is_stopping():
            stop()
            return
        _stops[0] = 1
        signal.signal(signal.SIGALRM, lambda *_: stop())
        signal.setitimer(signal.ITIMER_REAL, seconds)

    signal.signal(signal.SIGTERM, told)
