"""The turn to form attempts of a kind: who has it, and whether there is somebody and a place."""

from __future__ import annotations

from typing import Any

#: The first half of the advisory locks under which attempts are formed; the second is the kind's.
TURNS = 7_219_402


def turn(kind: str, attempts_at_once: int) -> dict[str, Any]:
    return {"turns": TURNS, "kind": kind, "at_once": attempts_at_once}


SOMEBODY_WAITS = (
    "EXISTS (SELECT FROM transactions"
    " WHERE kind = :kind AND waits_until <= statement_timestamp() AND quarantined_at IS NULL)"
)

#: The attempts of a kind that are not decided yet, by their leaders.
UNDER_WAY = (
    "(SELECT count(*) FROM transactions WHERE kind = :kind"
    " AND state = 'preparing' AND waits_until IS NULL AND leader IS NULL AND quarantined_at IS NULL)"
)
