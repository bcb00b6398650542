"""What a contender used: processor time and memory of its processes, and what the servers themselves counted."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg2
import redis

from local_servers.identity import descendants

_TICK, _PAGE = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
#: PostgreSQL's processes tell the shared statistics what they did when they have been idle for ten seconds.
STATISTICS_SETTLE = 11.0

#: Of the roles that services have, so without what the harness asks.
_STATEMENTS = """
SELECT coalesce(sum(calls), 0)::bigint FROM pg_stat_statements s JOIN pg_roles r ON r.oid = s.userid
WHERE r.rolname LIKE '%\\_service'
"""
_FLUSHES = {  # where the server counts them, by its version
    18: "SELECT sum(fsyncs)::bigint, 0 FROM pg_stat_io WHERE object = 'wal'",
    14: "SELECT wal_sync, 0 FROM pg_stat_wal",
}
_WAL_BYTES = "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint"

Roots = Mapping[str, list[int]]
"""Group ("own", "postgres", "redis") → the pids whose whole process trees belong to it."""


@dataclass(frozen=True)
class Counts:
    """What had been counted at one moment."""

    #: group (see `Roots`) → seconds of processor time
    cpu: dict[str, float]
    #: SQL statements of the services
    statements: int
    wal_bytes: int
    #: Redis command → how often
    commands: Counter[str]
    #: statements that pg_stat_statements has forgotten; if this grows, `statements` is too low
    evicted: int


class Counters:
    """Reads the counters of one contender's servers and processes."""

    def __init__(self, admin_url: str, redis_port: int, roots: Callable[[], Roots]) -> None:
        self._admin_url, self._roots = admin_url, roots
        self._redis = redis.Redis(port=redis_port)

    def read(self) -> Counts:
        cpu = {group: sum(map(_cpu_seconds, _trees(pids))) for group, pids in self._roots().items()}
        stats: Mapping[str, Mapping[str, int]] = self._redis.info("commandstats")  # type: ignore[assignment]
        commands = Counter(
            {name.removeprefix("cmdstat_"): of["calls"] for name, of in stats.items() if name != "cmdstat_info"}
        )
        with contextlib.closing(psycopg2.connect(self._admin_url)) as connection, connection.cursor() as cursor:
            cursor.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
            cursor.execute(_STATEMENTS)
            statements = cursor.fetchone()[0]
            cursor.execute("SELECT dealloc FROM pg_stat_statements_info")
            evicted = cursor.fetchone()[0]
            cursor.execute(_WAL_BYTES)
            wal_bytes = cursor.fetchone()[0]
            connection.commit()
        return Counts(cpu, statements, wal_bytes, commands, evicted)

    def flushes(self) -> int:
        """WAL flushes so far. Right only when the server was idle for ``STATISTICS_SETTLE`` seconds."""
        with contextlib.closing(psycopg2.connect(self._admin_url)) as connection, connection.cursor() as cursor:
            cursor.execute(_FLUSHES[18 if connection.server_version >= 180000 else 14])
            return int(cursor.fetchone()[0])

    def memory(self) -> dict[str, int]:
        """Resident bytes of each group now, summed over its processes: what they share is counted in each."""
        return {group: sum(map(_resident, _trees(pids))) for group, pids in self._roots().items()}


def used(before: Counts, after: Counts, transactions: int) -> dict[str, float]:
    """What one (processor time: a thousand) of the transactions between the two moments took."""
    if after.evicted != before.evicted:
        raise RuntimeError("pg_stat_statements forgot statements: raise pg_stat_statements.max")
    seconds = {group: after.cpu[group] - before.cpu[group] for group in after.cpu}
    commands = after.commands - before.commands
    return {
        **{f"CPU s/1000, {group}": 1000 * spent / transactions for group, spent in seconds.items()},
        "CPU s/1000, all": 1000 * sum(seconds.values()) / transactions,
        "SQL statements": (after.statements - before.statements) / transactions,
        "WAL bytes": (after.wal_bytes - before.wal_bytes) / transactions,
        "Redis commands": commands.total() / transactions,
    }


class MemoryWatch:
    """The most memory that each group had in the block, and how it went: ``with MemoryWatch(…) as watch``."""

    def __init__(self, memory: Callable[[], dict[str, int]], every: float = 0.25) -> None:
        self._memory, self._every = memory, every
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self.peak: Counter[str] = Counter()
        self.samples: list[tuple[float, float]] = []
        """(monotonic time, bytes of the contender's own processes)"""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def figures(self) -> dict[str, float]:
        return {f"peak MB, {group}": peak / 1e6 for group, peak in self.peak.items()}

    def _look(self) -> None:
        while True:
            now = self._memory()
            self.peak |= Counter(now)
            self.samples.append((time.monotonic(), now.get("own", 0)))
            if self._over.wait(self._every):
                return


def _trees(pids: list[int]) -> list[int]:
    return [each for pid in pids for each in (pid, *descendants(pid))]


def _cpu_seconds(pid: int) -> float:
    """Of the process, and of its children that have ended and were waited for."""
    try:
        rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return sum(map(int, rest[11:15])) / _TICK


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except (FileNotFoundError, ProcessLookupError):
        return 0
