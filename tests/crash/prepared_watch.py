"""How long each prepared transaction stands, seen from outside while the shop is at work."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import psycopg2

from celery_config.manifest import SERVICES
from tests.broker.databases import Databases

_LOOK_EVERY = 0.2
_PREPARED = "SELECT gid FROM pg_prepared_xacts WHERE database = current_database()"


@dataclass
class Sighting:
    """One prepared transaction of one service: when it was seen first and last, in seconds since the epoch."""

    service: str
    gid: str
    first: float
    last: float

    def stood_after(self, moment: float) -> float:
        """Seconds for which it was seen standing after `moment`."""
        return max(0.0, self.last - max(self.first, moment))


class PreparedWatch:
    """Looks into every service's database again and again while the block runs. A server that is away is not looked
    into."""

    def __init__(self, databases: Databases) -> None:
        self._databases = databases
        self._seen: dict[tuple[str, str], Sighting] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="prepared-watch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def longest_after(self, moment: float) -> float:
        """Seconds for which the most patient one stood after `moment`."""
        return max((sighting.stood_after(moment) for sighting in list(self._seen.values())), default=0.0)

    def look(self) -> list[Sighting]:
        """Those that stand now, in the databases that answer."""
        found = []
        for service in SERVICES:
            try:
                rows = self._databases.rows(service, _PREPARED)
            except psycopg2.Error:
                continue
            now = time.time()
            for row in rows:
                sighting = self._seen.setdefault((service, row["gid"]), Sighting(service, row["gid"], now, now))
                sighting.last = now
                found.append(sighting)
        return found

    def _watch(self) -> None:
        while not self._over.wait(_LOOK_EVERY):
            self.look()
