"""How the protocol talks to PostgreSQL: connection settings with their reasons, and statements outside a
transaction."""

from __future__ import annotations

import select
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2
import sqlalchemy
from sqlalchemy import Connection, Engine, text
from sqlalchemy.event import contains, listen
from sqlalchemy.exc import DBAPIError, InvalidatePoolError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

from atomic_commit.errors import Conflict, Defect, Lost, is_conflict, is_defect, is_lost
from atomic_commit.limits import Limits
from atomic_commit.postgres.client_timeouts import bound_waits

_DRIVER = "postgresql+psycopg2"
#: Seconds.
_CONNECT_WITHIN = 3
_FLUSH_COMMITS = (
    "SELECT set_config('synchronous_commit', 'on', false)"
    " WHERE current_setting('synchronous_commit') NOT IN ('on', 'remote_apply')"
)
#: So long after its last use a connection is taken for alive.
TRUSTED = 1.0


def engine_options(limits: Limits, pool_size: int) -> dict[str, Any]:
    """Keyword arguments for SQLAlchemy's ``create_engine`` that the protocol relies on.

    Every server-side wait is bounded, also for statements outside the engine: a session that hangs would hold its
    locks. The socket options make a connection to a host that vanished fail in seconds rather than in the kernel's
    two hours. A host that is there and a server that hangs is what ``bound_waits`` is for, which this calls.
    """
    longest_statement = limits.lock_timeout * 10
    bound_waits(connecting=_CONNECT_WITHIN, answering=longest_statement + 1)
    settings = {
        "lock_timeout": _milliseconds(limits.lock_timeout),
        "statement_timeout": _milliseconds(longest_statement),
        "idle_in_transaction_session_timeout": _milliseconds(limits.lock_timeout * 20),
        # The protocol locks rows explicitly and needs to see others' commits. Not set through SQLAlchemy or psycopg2,
        # which would tell the server again at every change between transactions and single statements.
        "default_transaction_isolation": "read\\ committed",
        # Whatever is said at a commit is a warning that it may not stay (``confirmed``).
        "client_min_messages": "warning",
    }
    return {
        "pool_size": pool_size,
        "max_overflow": 0,  # these are closed when they come back, and to open one costs as much as a transaction
        "pool_use_lifo": True,  # the one that was at work a moment ago is known to be alive
        "pool_timeout": 5,
        "pool_recycle": 1800,
        "pool_events": [
            (collect_warnings, "connect"),
            (flush_commits, "connect"),
            (replace_if_dead, "checkout"),
            (note_return, "checkin"),
        ],
        "executemany_mode": "values_plus_batch",  # a round trip for many updates, not one for each
        "connect_args": {
            "connect_timeout": _CONNECT_WITHIN,
            "keepalives_idle": 5,
            "keepalives_interval": 2,
            "keepalives_count": 3,
            "tcp_user_timeout": 10_000,
            "options": " ".join(f"-c {name}={value}" for name, value in settings.items()),
        },
    }


def create_engine(url: str, pool_size: int = 10, limits: Limits | None = None) -> Engine:
    """SQLAlchemy's engine for the database at `url`, with everything that the protocol relies on (``engine_options``).

    The driver is psycopg2: ``postgresql://`` means it here, whatever it means to SQLAlchemy. Raises ValueError for
    another driver. `pool_size`: connections that this process opens as it needs them, and keeps.
    """
    options = engine_options(limits or Limits.from_environment(), pool_size)
    return sqlalchemy.create_engine(with_driver(url), **options)


def with_driver(url: str) -> str:
    """`url` with the driver named, as SQLAlchemy wants it. Raises ValueError for another than psycopg2."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in ("postgresql", "postgres", _DRIVER):
        raise ValueError(f"a database URL begins with postgresql:// (the driver is psycopg2), not with {scheme!r}")
    return f"{_DRIVER}://{rest}"


def flush_commits(connection: Any, record: ConnectionPoolEntry) -> None:
    """A commit is flushed before it is answered, here and on a synchronous standby, whatever the role or the server
    says by default; one that asks for more (``remote_apply``) gets it. Else a decision could be told and forgotten."""
    connection.autocommit = True  # a COMMIT by itself would be one more round trip
    with connection.cursor() as cursor:
        cursor.execute(_FLUSH_COMMITS)
    connection.autocommit = False


def note_return(connection: Any, record: ConnectionPoolEntry) -> None:
    """When the connection came back to the pool."""
    record.info["returned_at"] = time.monotonic()


def replace_if_dead(connection: Any, record: ConnectionPoolEntry, proxy: PoolProxiedConnection) -> None:
    """A connection that a server restart has left behind is replaced, not handed out. One that was at work a moment ago
    is not asked, which would cost each transaction a round trip, unless the server has said something meanwhile: most
    likely its last word."""
    returned_at = record.info.get("returned_at")
    if returned_at is None or (time.monotonic() - returned_at < TRUSTED and not _has_word(connection)):
        return
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        connection.autocommit = False
    except psycopg2.Error as error:
        raise InvalidatePoolError(str(error)) from error  # what this one lost, the others have lost as well


def _has_word(connection: Any) -> bool:
    """Whether there is something to read from the server, an end of the connection included. No round trip."""
    heard = select.poll()
    heard.register(connection.fileno(), select.POLLIN)
    return bool(heard.poll(0))


def autocommit(engine: Engine) -> Engine:
    """The same connections, each statement by itself, for what needs no transaction around it or begins its own.

    The driver is told and not SQLAlchemy, whose isolation level AUTOCOMMIT costs a round trip to set back.
    """
    if not contains(engine.pool, "checkin", _commit_no_statement):
        listen(engine.pool, "checkin", _commit_no_statement)
    by_itself = engine.execution_options()
    listen(by_itself, "engine_connect", _commit_each_statement)
    return by_itself


def _commit_each_statement(connection: Connection) -> None:
    driver: Any = connection.connection.driver_connection
    driver.autocommit = True


def _commit_no_statement(connection: Any, record: ConnectionPoolEntry) -> None:
    """Whoever has the connection next finds it as everybody expects it."""
    if connection is not None and not connection.closed:
        connection.autocommit = False


def run_outside_transaction(connection: Connection, statement: str, **parameters: Any) -> None:
    """Execute one statement on a connection that is in ``autocommit``, as COMMIT PREPARED and ROLLBACK PREPARED demand.

    Raises the DBAPIError that PostgreSQL answered (Lost, within ``translated_errors``, where the connection went away
    before an answer), or Lost where it is not confirmed: then nobody knows whether the statement took effect.
    """
    driver: Any = connection.connection.driver_connection
    driver.notices.clear()
    connection.execute(text(statement), parameters)
    if warning := last_warning(driver):
        raise Lost(f"{statement} is not confirmed: {warning}")


class Warnings:
    """What the server said beside its answers, for psycopg2's ``connection.notices``. Not iterable: SQLAlchemy would
    log it after every statement, and clear it."""

    def __init__(self) -> None:
        self.last: str | None = None

    def append(self, said: str) -> None:
        self.last = said.strip()

    def clear(self) -> None:
        self.last = None


def collect_warnings(connection: Any, record: ConnectionPoolEntry) -> None:
    """From now on ``last_warning`` knows what is said on this connection of the driver's."""
    connection.notices = Warnings()


def last_warning(connection: Any) -> str | None:
    """What the server has said last, since the connection's ``notices`` were cleared. (Sessions ask for nothing less
    than warnings.)"""
    said = connection.notices
    if isinstance(said, Warnings):
        return said.last
    return str(said[-1]).strip() if said else None  # opened before anybody collected


@contextmanager
def translated_errors(*, also_conflicts: bool = True) -> Iterator[None]:
    """Turn database errors into the protocol's: what waiting may heal becomes Conflict (unless the caller reads
    SQLSTATEs itself), a connection that went away becomes Lost. Everything else passes as it is."""
    try:
        yield
    except (DBAPIError, PoolTimeout) as error:
        words = str(getattr(error, "orig", error)).strip().splitlines()[0]
        if is_lost(error):
            raise Lost(words) from error
        if also_conflicts and is_conflict(error):
            raise Conflict(words) from error
        raise


@contextmanager
def defects_named() -> Iterator[None]:
    """Turn a database's error that no new attempt heals into a Defect, so that who reads it elsewhere knows as much."""
    try:
        yield
    except DBAPIError as error:
        if is_defect(error):
            raise Defect(type(error.orig).__name__, str(error)) from error
        raise


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))
