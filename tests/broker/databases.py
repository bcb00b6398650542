"""What the databases hold, seen past the services: rows, prepared transactions, and locks that a test takes itself."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg2
import psycopg2.extras

from celery_config.manifest import SERVICES

#: Each service may have a server of its own, or share one: so each database is asked for its own.
_PREPARED = "SELECT gid, prepared FROM pg_prepared_xacts WHERE database = current_database()"
_WAITERS = "SELECT count(*) FROM pg_stat_activity WHERE %s = ANY (pg_blocking_pids(pid))"


class Databases:
    """The databases as their superuser sees them. `admin_url(name)` says where each is."""

    def __init__(self, admin_url: Callable[[str], str]) -> None:
        self._admin_url = admin_url

    def rows(self, database: str, statement: str, *parameters: object) -> list[dict[str, Any]]:
        """Ask once, on a connection of its own: it works again as soon as the server does."""
        with contextlib.closing(self._connect(database)) as connection, connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            return [dict(row) for row in cursor.fetchall()]

    def prepared(self) -> list[str]:
        """The gids of the services' prepared transactions, in the order in which they were prepared."""
        found = [row for service in SERVICES for row in self.rows(service, _PREPARED)]
        return [row["gid"] for row in sorted(found, key=lambda row: row["prepared"])]

    @contextmanager
    def row_lock(self, database: str, table: str, id: int) -> Iterator[RowLock]:
        """Hold one row against everybody else until the block is left. The server may die meanwhile."""
        connection = self._connect(database)
        try:
            with connection.cursor() as cursor:
                cursor.execute(f"SELECT id FROM {table} WHERE id = %s FOR UPDATE", (id,))
                assert cursor.fetchone(), f"there is no row {id} in {table}"
            yield RowLock(self, connection.info.backend_pid)
        finally:
            with contextlib.suppress(psycopg2.Error):
                connection.rollback()
            connection.close()

    def _connect(self, database: str) -> Any:
        return psycopg2.connect(self._admin_url(database), cursor_factory=psycopg2.extras.RealDictCursor)


@dataclass(frozen=True)
class RowLock:
    """A row that the session `pid` holds."""

    databases: Databases
    pid: int

    def waiters(self) -> int:
        """How many sessions wait for it at this moment."""
        return int(self.databases.rows("postgres", _WAITERS, self.pid)[0]["count"])
