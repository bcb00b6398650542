"""Restore points: one moment, by name, in all databases at once; and what clients were told before it.

All databases fit together at a moment at which no decision is being committed: what was decided before is committed in
the coordinators' journals and prepared or done at the participants; the rest is undecided everywhere.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import psycopg2

from celery_config.manifest import COORDINATORS, SERVICES
from embedded.shop import Shop

from . import verbs

_VERB = "restore-point"
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
    held = _by_the_verb(shop, name) if verbs.offered(_VERB) else _stand_in_for_the_verb(shop, name)
    return Point(name, began, time.time(), held)


def _by_the_verb(shop: Shop, name: str) -> float:
    """Returns for how many milliseconds decisions were held."""
    done = verbs.run(shop, COORDINATORS[0], _VERB, name)
    if done.returncode:
        raise RefusedPointError(f"exit code {done.returncode}: {(done.stderr or done.stdout).strip()}")
    held = _HELD.search(done.stdout)
    assert held, f"{_VERB} does not say for how many ms decisions were held: {done.stdout}"
    return float(held[1])


# ---- in place of `python -m <service>_service restore-point NAME`, until there is one

_HOLD = "SET lock_timeout = '5s'; LOCK TABLE transactions IN SHARE MODE"


def _stand_in_for_the_verb(shop: Shop, name: str) -> float:
    """The same with locks on the journals: nobody can write a decision. Returns for how many milliseconds."""
    with contextlib.ExitStack() as stack:
        try:
            connections = {service: stack.enter_context(_connected(shop, service)) for service in SERVICES}
            held_since = time.monotonic()
            for service in COORDINATORS:
                _do(connections[service], _HOLD)
            for service in SERVICES:
                _do(connections[service], "SELECT pg_create_restore_point(%s)", name)
        except psycopg2.Error as error:
            raise RefusedPointError(str(error).strip()) from error
    return (time.monotonic() - held_since) * 1000


def _connected(shop: Shop, service: str) -> Any:
    return contextlib.closing(psycopg2.connect(shop.admin_url(service), connect_timeout=5))


def _do(connection: Any, statement: str, *parameters: object) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
