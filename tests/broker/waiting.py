"""Waiting for something to become true, and doing things at once. Nothing here sleeps in the hope that it is enough."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import psycopg2

from local_servers.json_http import CallFailed

T = TypeVar("T")

#: Seconds within which whatever was accepted has ended, once everything runs again. Generous: a silent attempt is given
#: up after 2 s, the next after 4, and a machine may be busy.
SOON = 45.0


def wait_until(condition: Callable[[], T], what: str, within: float = SOON, every: float = 0.03) -> T:
    """The first true value of `condition()`. A database or an API that is away counts as "not yet".

    Raises AssertionError that says `what` did not happen, and what was seen last.
    """
    end, seen = time.monotonic() + within, None
    while time.monotonic() < end:
        try:
            if found := condition():
                return found
            seen = found
        except (psycopg2.OperationalError, CallFailed) as error:
            seen = error
        time.sleep(every)
    raise AssertionError(f"within {within:g} s it did not happen that {what} (seen last: {seen!r})")


def at_once(calls: Sequence[Callable[[], T]]) -> list[T]:
    """Make all the calls at the same moment, each in a thread of its own. Their results, in order."""
    gate = threading.Barrier(len(calls))

    def run(one: Callable[[], T]) -> T:
        gate.wait(30)
        return one()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


class Meanwhile:
    """A call that goes on in a thread of its own while the block runs. `result()` waits for its end."""

    def __init__(self, one: Callable[[], T]) -> None:
        self._pool = ThreadPoolExecutor(1)
        self._future = self._pool.submit(one)

    def __enter__(self) -> Meanwhile:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True)

    def result(self) -> object:
        """What the call returned; what it raised is raised here."""
        return self._future.result(60)
