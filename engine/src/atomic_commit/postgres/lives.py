"""Whether the database is still the one that was seen before, or has come back older than it was.

A *life* is one uninterrupted history of a server's log. A failover begins another one, and so does a restored backup:
PostgreSQL numbers them (timelines,
https://www.postgresql.org/docs/current/continuous-archiving.html#BACKUP-TIMELINES), and a dump that is loaded makes new
tables. The database keeps the life in which it was last seen, and since that is kept in the database itself, it is as
old as everything else in there: where it is not the server's present one, what was committed in between may be
forgotten.

That is found out on each new connection, before anything else is done on it: every connection to the server before is
broken by then. What has to be done at once is done right there, in one local transaction:

- sequences skip what may have been given away in the time that is forgotten: an id that is given twice would make
  somebody else the owner of what belongs to the first;
- whatever is undecided is asked about before it is decided (statements that the coordinator gives).

A server that merely goes on where it was, because its disk was set back or has not kept what it had promised, can be
told by the end of its log alone: each process remembers the farthest that it has seen (``Lives.beat``).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg2
from sqlalchemy import Connection, Engine, text
from sqlalchemy.event import listen
from sqlalchemy.pool import ConnectionPoolEntry

log = logging.getLogger(__name__)

_IS_KEPT = (
    "SELECT EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass('database_identity') AND attname = 'life')"
)
_PRESENT = (
    "concat_ws('/', (SELECT system_identifier FROM pg_control_system()),"
    " left(pg_walfile_name(pg_current_wal_insert_lsn()), 8), 'transactions'::regclass::oid)"
)
#: A standby has no life of its own.
_DIFFERS = f"SELECT CASE WHEN NOT pg_is_in_recovery() THEN life IS DISTINCT FROM {_PRESENT} END FROM database_identity"
_HOLD = f"SELECT life, {_PRESENT}, coalesce(seen_at, created_at), clock_timestamp() FROM database_identity FOR UPDATE"
_TAKE_OVER = "UPDATE database_identity SET life = %s, seen_at = clock_timestamp()"
_NOTE_FORK = "UPDATE database_identity SET forked_at = clock_timestamp(), forked_since = %s"
#: Sequences of the service's own schema, how far each is, and whether it can go on for so much longer.
_SEQUENCES = (
    "SELECT format('%%I.%%I', schemaname, sequencename), coalesce(last_value, start_value) + %s * increment_by AS to,"
    " coalesce(last_value, start_value) + %s * increment_by BETWEEN min_value AND max_value"
    " FROM pg_sequences WHERE schemaname = current_schema()"
)
_SKIP = "SELECT setval(CAST(%s AS regclass), %s)"
#: Who takes over waits no longer for somebody who does the same.
_WAIT = "SET LOCAL lock_timeout = '5s'"
_BEAT = text(
    "SET LOCAL synchronous_commit = off;"
    "UPDATE database_identity SET seen_at = clock_timestamp()"
    " RETURNING pg_current_wal_insert_lsn() - '0/0'::pg_lsn AS log_end, life, forked_at, forked_since,"
    " extract(epoch FROM clock_timestamp() - forked_at) AS age"
)


@dataclass(frozen=True)
class Fork:
    """The database has come back older. ``at``: when that was seen, ``age`` seconds ago; ``since``: what was committed
    after that time may be forgotten. All by the database's clock."""

    at: datetime
    since: datetime
    age: float


class Lives:
    """The lives of one service's database (`engine`)."""

    def __init__(self, engine: Engine, ids_per_second: int, forgotten: Sequence[str]) -> None:
        """`forgotten`: statements that the coordinator wants to be executed in the same local transaction."""
        self._engine, self._forgotten, self._ids_per_second = engine, forgotten, ids_per_second
        #: the life, and the end of its log in bytes, as far as this process has seen it
        self._seen: tuple[str | None, int] = (None, 0)
        listen(engine, "connect", self._compare)

    def beat(self) -> Fork | None:
        """Write down that the life goes on, and see whether it does. Returns the last fork, if there ever was one.

        To be called every few seconds: what is lost in a fork is lost after the last beat.
        """
        with self._engine.begin() as connection, _driver(connection).cursor() as cursor:
            if _differs(cursor):  # behind a pooler, connections outlive their server
                self._take_over(cursor)
            row = connection.execute(_BEAT).one()
            life, end = self._seen
            if life == row.life and row.log_end < end:
                log.critical("the server's log ends %d bytes before where it was", end - row.log_end)
                self._take_over(cursor, known=True)
                row = connection.execute(_BEAT).one()
        self._seen = row.life, int(row.log_end)
        return Fork(row.forked_at, row.forked_since, float(row.age)) if row.forked_at else None

    def came_back_older(self) -> None:
        """Do what is done after a fork, because the caller knows that it is one."""
        with self._engine.begin() as connection, _driver(connection).cursor() as cursor:
            self._take_over(cursor, known=True)

    def _compare(self, driver: Any, record: ConnectionPoolEntry) -> None:
        """A new connection: does it lead to the life that the database knows?"""
        driver.autocommit = True
        with driver.cursor() as cursor:
            cursor.execute(_IS_KEPT)
            differs = cursor.fetchone()[0] and _differs(cursor)
        driver.autocommit = False
        if differs:
            with driver, driver.cursor() as cursor:
                self._take_over(cursor)

    def _take_over(self, cursor: Any, *, known: bool = False) -> None:
        """Make the server's present life the one that the database knows."""
        cursor.execute(_WAIT)
        cursor.execute(_HOLD)
        life, present, since, now = cursor.fetchone()
        if life == present and not known:
            return  # another connection was first
        cursor.execute(_TAKE_OVER, (present,))
        if life is None:
            return  # the first that it ever saw
        log.critical(
            "this database may have come back older than it was (%s, and it knew %s): what was committed since %s may"
            " be forgotten. Sequences skip ids, and what is undecided is asked about",
            present,
            life,
            since,
        )
        cursor.execute(_NOTE_FORK, (since,))
        self._skip_ids(cursor, (now - since).total_seconds())
        for statement in self._forgotten:
            cursor.execute(statement)

    def _skip_ids(self, cursor: Any, seconds: float) -> None:
        """Nothing is given away twice that may have been given away in so many seconds."""
        skipped = self._ids_per_second * (1 + max(0, round(seconds)))
        cursor.execute(_SEQUENCES, (skipped, skipped))
        for name, to, possible in cursor.fetchall():
            if not possible:
                raise SequenceTooShort(
                    f"the sequence {name} can't skip the {skipped} ids that may have been given away in the"
                    f" {seconds:.0f} s that are forgotten: make its column bigint, or set ATOMIC_IDS_PER_SECOND lower"
                )
            cursor.execute(_SKIP, (name, to))


class SequenceTooShort(psycopg2.OperationalError):  # type: ignore[misc]  # psycopg2 has no types
    """Ids might be given twice. Nobody gets a connection: to give none is better."""


def _driver(connection: Connection) -> Any:
    return connection.connection.driver_connection


def _differs(cursor: Any) -> bool:
    cursor.execute(_DIFFERS)
    row = cursor.fetchone()
    return bool(row and row[0])
