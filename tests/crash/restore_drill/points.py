"""Restore points: one moment, by name, in all databases at once; and what clients were told before it.

All databases fit together at a moment at which no decision is being committed: what was decided before is committed in
the coordinators' journals and prepared or done at the participants; the rest is undecided everywhere.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from celery_config.manifest import COORDINATORS
from embedded.shop import Shop

from . import verbs

_HELD = re.compile(r"([\d.]+) ms")


class RefusedPointError(Exception):
    """No restore point was set in all databases. The message says what was in the way."""


@dataclass(frozen=True)
class Point:
    """A restore point in all databases. ``began`` and ``ended``: seconds since the epoch, by the clock of this machine,
    between which it was set; ``held``: milliseconds for which decisions were held."""

    name: str
    began: float
    ended: float
    held: float

    def surviving(self, history: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        """What holds of a history once everything is back at this point.

        What was answered before it stands. What was asked after it has never been. Whatever was under way meanwhile may
        or may not have happened, as after a lost connection.
        """
        kept = []
        for entry in history:
            if entry["ended"] < self.began:
                kept.append(entry)
            elif entry["began"] <= self.ended:
                kept.append({**entry, "status": None})
        return kept


def set_restore_point(shop: Shop, name: str) -> Point:
    """Hold the decisions of all coordinators, set a restore point in every database, let go.

    Raises RefusedPointError where a server is away; decisions are not held any more then.
    """
    began = time.time()
    done = verbs.run(shop, COORDINATORS[0], "restore-point", name)
    if done.returncode:
        raise RefusedPointError(f"exit code {done.returncode}: {(done.stderr or done.stdout).strip()}")
    held = _HELD.search(done.stdout)
    assert held, f"it is not said for how many ms decisions were held: {done.stdout}"
    return Point(name, began, time.time(), float(held[1]))
