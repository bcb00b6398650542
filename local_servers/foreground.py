"""An application in the foreground of a terminal: a signal asks for its end, the next one kills."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from types import FrameType
from typing import Any, Self

from local_servers.application import Application

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class AskedToStop(BaseException):
    """A signal asked for the end in the middle of what `Foreground.raised` guards."""


class Foreground:
    """Within, signals are for the application that it watches over: the first one ends a start that is under way
    (which raises Interrupted) and `wait`; each further one kills every process, so that a stop gets through.

    A handler may run in the middle of anything the main thread does, also while it holds the very lock that the
    handler's work would need. So the handler only puts the signal in a queue made for that, and a thread does the
    work. Start and stop must not be torn in their middle, so an exception is raised only inside `raised`.
    """

    def __init__(self) -> None:
        self.came = False
        """Whether there was a signal."""
        self._raise = False
        self._signals: SimpleQueue[int] = SimpleQueue()
        self._asked = threading.Event()
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        for sig in STOPPING:
            if signal.getsignal(sig) != signal.SIG_IGN:  # under nohup SIGHUP is, and stays so
                self._before[sig] = signal.signal(sig, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for sig, handler in self._before.items():
            signal.signal(sig, handler)

    def watch_over(self, application: Application) -> None:
        """From now on signals, those that came before too, are for this application."""
        threading.Thread(target=self._act, args=(application,), daemon=True).start()

    def wait(self) -> None:
        """Until the first signal."""
        self._asked.wait()

    @contextmanager
    def raised(self) -> Iterator[None]:
        """Within, the first signal raises AskedToStop; at once where it has come already."""
        self._raise = True
        try:
            if self.came:
                raise AskedToStop
            yield
        finally:
            self._raise = False

    def _note(self, number: int, frame: FrameType | None) -> None:
        first, self.came = not self.came, True
        self._signals.put(number)
        if first and self._raise:
            self._raise = False
            raise AskedToStop

    def _act(self, application: Application) -> None:
        self._signals.get()
        self._asked.set()
        application.interrupt()
        while True:
            self._signals.get()
            application.kill_all()
