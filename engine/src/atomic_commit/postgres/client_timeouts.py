"""A database server that hangs: whoever waits for its answer stops waiting.

A server that is stopped, or whose disk does not answer, keeps its connections. Its kernel goes on acknowledging bytes
and probes, so ``keepalives`` and ``tcp_user_timeout`` see nothing wrong, and ``statement_timeout`` is kept by the very
server that hangs. libpq itself waits for ever. So the waiting is ours: psycopg2 lets it be replaced, for the whole
process.
"""

from __future__ import annotations

import select
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2
from psycopg2 import extensions

#: libpq's CONNECTION_OK, which psycopg2 has no name for.
_CONNECTED = 0


def bound_waits(*, connecting: float, answering: float) -> None:
    """From now on every connection of this process gives up after so many seconds without an answer.

    What is given up raises OperationalError and its connection is closed: to the protocol that is a connection that was
    lost. `answering` has to be longer than ``statement_timeout``, so that a server that lives answers first.
    """

    def wait(connection: Any) -> None:
        connected = connection.info.status == _CONNECTED
        _wait(connection, answering if connected else connecting)

    extensions.set_wait_callback(wait)


@contextmanager
def unbounded_waits() -> Iterator[None]:
    """For what the limits are not meant: on a busy disk to make or drop a database takes seconds."""
    bounded = extensions.get_wait_callback()
    extensions.set_wait_callback(None)
    try:
        yield
    finally:
        extensions.set_wait_callback(bounded)


def _wait(connection: Any, seconds: float) -> None:
    """Until the server has answered. Raises OperationalError after `seconds`; then psycopg2 closes the connection."""
    end = time.monotonic() + seconds
    while (state := connection.poll()) != extensions.POLL_OK:
        ready = select.poll()
        ready.register(connection.fileno(), select.POLLIN if state == extensions.POLL_READ else select.POLLOUT)
        if not ready.poll(max(0.0, end - time.monotonic()) * 1000):
            raise psycopg2.OperationalError(f"the server did not answer within {seconds:g} s")
