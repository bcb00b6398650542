"""A prepared branch that nobody settles asks its coordinator (cooperative termination: Bernstein, Hadzilacos & Goodman,
"Concurrency Control and Recovery in Database Systems", 1987, section 7.4).

Normally the coordinator asks, until it is answered. It does not where it has forgotten the transaction, or thinks that
all is settled: then its database, or the participant's, has come back older than it was. What survives with a prepared
transaction is its gid, which names the coordinator and the kind, and that is all that has to be known.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from sqlalchemy import Engine

from atomic_commit.limits import Limits
from atomic_commit.names import Gid, Installation
from atomic_commit.participant.in_doubt import in_doubt
from atomic_commit.postgres.database import autocommit, translated_errors

log = logging.getLogger(__name__)

#: Seconds between two questions about the same branch: first, and at most.
_FIRST_PAUSE, _LONGEST_PAUSE = 10.0, 300.0


class Inquiry:
    """The questions of one service about what stands prepared in its database."""

    def __init__(
        self, engine: Engine, installation: Installation, limits: Limits, ask: Callable[[Gid, float], object]
    ) -> None:
        """`ask(gid, age)` asks the branch's coordinator; `age`: seconds for which it stands prepared."""
        self._reads, self._installation, self._limits, self._ask = autocommit(engine), installation, limits, ask
        #: gid → when to ask again (by the monotonic clock), and the pause after that
        self._asked: dict[Gid, tuple[float, float]] = {}

    def look(self) -> int:
        """Ask about every branch that stands prepared for longer than ``Limits.inquire_after``, each less and less
        often. Returns how many were asked about. Raises Lost or Conflict where the database can't be asked."""
        with translated_errors(), self._reads.connect() as connection:
            found = in_doubt(connection, self._installation)
        old = {one.gid: one.age for one in found if one.gid and one.age > self._limits.inquire_after}
        self._asked = {gid: pause for gid, pause in self._asked.items() if gid in old}
        now = time.monotonic()
        due = [gid for gid in old if self._asked.get(gid, (now, 0.0))[0] <= now]
        for gid in due:
            _, pause = self._asked.get(gid, (now, _FIRST_PAUSE))
            self._asked[gid] = now + pause, min(2 * pause, _LONGEST_PAUSE)
            log.warning("%s stands prepared for %.0f s: %s is asked about it", gid, old[gid], gid.coordinator)
            self._ask(gid, old[gid])
        return len(due)
