"""What the server's threads may be busy with, so that waiting never takes them all.

A request that waits for its decision costs next to nothing, but a thread. Without a bound, as many clients as there are
threads that wait for 30 seconds each would keep out everybody else: readers, and those who look whether the process is
well, whereupon the gateway takes it away.

| at most                     | at once                                             | beyond it                     |
|-----------------------------|-----------------------------------------------------|-------------------------------|
| half of ``WEB_THREADS``     | wait for a decision                                 | 202 at once, not waited       |
| ``WEB_THREADS``             | are served, but `/livez`, `/readyz` and documents   | 503 soon, nothing was done    |

The process has an eighth more threads than that: for those who look whether it is well, and for those who are told to
come again. (Bulkheads: Nygard, "Release It!", 2007, chapter 5.)
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import flask

from http_api.problems import ProblemError

#: Seconds for which a request waits to be served: longer than a crowd takes that comes at one moment, shorter than
#: whoever asks whether the process is well has patience.
_QUEUED_FOR = 0.25
#: Blueprints that need nothing which others may have taken.
_ALWAYS_SERVED = frozenset({"health", "docs", "problems"})


def served_at_once() -> int:
    """Requests that each process serves at once: ``WEB_THREADS``, or 128."""
    return int(os.environ.get("WEB_THREADS", "128"))


def threads() -> int:
    """Threads of each process: some more than it serves requests at once."""
    return served_at_once() + max(2, served_at_once() // 8)


class Admission:
    """The bounds of one process that serves so many requests at once."""

    def __init__(self, at_once: int) -> None:
        self._serving = threading.BoundedSemaphore(at_once)
        self._waiting = threading.BoundedSemaphore(max(1, at_once // 2))

    @contextmanager
    def wait(self) -> Iterator[bool]:
        """Around a wait for a decision. Whether there is a thread for it."""
        admitted = self._waiting.acquire(blocking=False)
        try:
            yield admitted
        finally:
            if admitted:
                self._waiting.release()

    def enter(self) -> bool:
        """Whether there is a thread for one more request; then ``leave`` has to be called when it is answered."""
        return self._serving.acquire(timeout=_QUEUED_FOR)

    def leave(self) -> None:
        self._serving.release()


def install(app: flask.Flask) -> None:
    """Bound what `app` is busy with. To be called before anything else that looks at requests."""
    admission = app.extensions["admission"] = Admission(served_at_once())

    @app.before_request
    def enter() -> None:
        if flask.request.blueprint in _ALWAYS_SERVED:
            return
        if not admission.enter():
            raise ProblemError("busy", "Nothing was done: this process serves as many requests as it can.")
        flask.g.admitted = True

    @app.teardown_request
    def leave(_: BaseException | None) -> None:
        if flask.g.pop("admitted", False):
            admission.leave()
