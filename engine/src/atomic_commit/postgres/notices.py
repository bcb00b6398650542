"""PostgreSQL tells who listens that a transaction is over, so that nobody has to ask all the time.

A notice says that something is over and not what (https://www.postgresql.org/docs/current/sql-notify.html): it is sent
with the local transaction that settles or aborts, and those of one local transaction are one. Like every message here
it is a hint.

Who listens has to read. A connection that listens and is not read fills up, in some minutes of a busy shop; from then
on its server process waits to write, with its snapshot held, and no VACUUM removes what has died since. So nobody
listens while nobody waits (``stop``), and the server ends a listener that is frozen (``tcp_user_timeout``).

Where the server's notices do not get through (a pooler that lends connections by the transaction), the looks in between
find everything, a little later.
"""

from __future__ import annotations

import logging
import select
import socket
import time
from contextlib import suppress
from typing import Any

import psycopg2
from sqlalchemy import Engine, func
from sqlalchemy.exc import SQLAlchemyError

log = logging.getLogger(__name__)

_CHANNEL = "atomic_commit_over"
#: SQL, for a statement of the local transaction by which something is over.
NOTICE = func.pg_notify(_CHANNEL, "")
#: Seconds between two tries to listen.
_AGAIN = 1.0
#: Milliseconds after which the server gives up a listener that does not read, such as a process that is stopped.
#: (https://www.postgresql.org/docs/current/runtime-config-connection.html)
_READS_WITHIN = 60_000


class Notices:
    """One thread listens, on a database connection of its own; others can wake it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connection: Any = None
        self._try_at = 0.0
        self._woken, self._wakes = socket.socketpair()
        self._woken.setblocking(False)
        self._wakes.setblocking(False)

    def wake(self) -> None:
        """End a ``wait`` that can be ended by this, now or when it begins. For any thread."""
        with suppress(BlockingIOError):  # it has been told more often than it listens
            self._wakes.send(b".")

    def listen(self) -> bool:
        """Listen from now on, if that is possible. Returns whether it does."""
        if self._connection is None and time.monotonic() >= self._try_at:
            self._try_at = time.monotonic() + _AGAIN
            try:
                self._connection = self._connected()
            except (SQLAlchemyError, psycopg2.Error) as error:
                log.warning("not told by the database what is over: %s", str(error).splitlines()[0])
        return self._connection is not None

    def stop(self) -> None:
        """Listen no more, until ``listen`` is called again. Whatever was not read goes with the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def close(self) -> None:
        """Listen no more, ever."""
        self.stop()
        self._woken.close()
        self._wakes.close()

    def wait(self, seconds: float, *, wakes: bool) -> bool:
        """Return after `seconds`, or when a notice comes (then True), or when ``wake`` is called (if it `wakes`)."""
        waiting = select.poll()
        if wakes:
            waiting.register(self._woken.fileno(), select.POLLIN)
        if self._connection is not None:
            waiting.register(self._connection.fileno(), select.POLLIN)
        ready = dict(waiting.poll(max(0.0, seconds) * 1000))
        if self._woken.fileno() in ready:
            with suppress(BlockingIOError):
                self._woken.recv(4096)
        return bool(ready.keys() - {self._woken.fileno()}) and self._heard()

    def _heard(self) -> bool:
        try:
            self._connection.poll()
        except psycopg2.Error as error:
            log.warning("no more told by the database what is over: %s", str(error).strip())
            self.stop()
            return False
        heard = bool(self._connection.notifies)
        self._connection.notifies.clear()
        return heard

    def _connected(self) -> Any:
        """A connection that listens. It leaves the pool for good, which opens another one when it needs one."""
        lent = self._engine.raw_connection()
        lent.detach()
        connection: Any = lent.dbapi_connection
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(f"SET tcp_user_timeout = {_READS_WITHIN}")
            cursor.execute(f"LISTEN {_CHANNEL}")
        return connection
