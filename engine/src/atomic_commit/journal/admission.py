"""The turn to form attempts of a kind: who has it, and whether there is somebody and a place.

There are two lines, each with places of its own: those whose attempts have been silent, which are listened to for
longer each time, do not keep the others from going. If very many are silent, then it is not they: nobody is there to
answer, and more attempts would be more messages that nobody takes. Then both lines share the places of one, until
somebody answers. (A circuit breaker, whose probes are the attempts that are under way.)
"""

from __future__ import annotations

from typing import Any

#: The first half of the advisory locks under which attempts are formed; the second is the kind's.
ADMISSION_LOCKS = 7_219_402

#: So many silent attempts for each place are one trouble that all of them have, and not their own.
_TOO_MANY = 4


def admission(kind: str, attempts_at_once: int) -> dict[str, Any]:
    return {
        "locks": ADMISSION_LOCKS,
        "kind": kind,
        "at_once": attempts_at_once,
        "all_are_silent": _TOO_MANY * attempts_at_once,
    }


#: Which of the lines, by whether it is the silent ones', has somebody who may go now.
_WAITS = (
    "EXISTS (SELECT FROM transactions"
    " WHERE kind = :kind AND waits_until <= statement_timestamp() AND quarantined_at IS NULL AND {line})"
)
_FRESH, _SILENT = "silent_attempts = 0", "silent_attempts > 0"

#: The attempts of a kind that are not decided yet, by their leaders; and those that were silent the last time.
_COUNTS = (
    "SELECT under_way.*, silent_before FROM"
    f" (SELECT count(*) FILTER (WHERE {_FRESH}) AS fresh, count(*) FILTER (WHERE {_SILENT}) AS silent"
    "  FROM transactions WHERE kind = :kind"
    "  AND state = 'preparing' AND waits_until IS NULL AND leader IS NULL AND quarantined_at IS NULL) AS under_way,"
    " (SELECT count(*) AS silent_before FROM transactions WHERE kind = :kind"
    f"  AND state = 'preparing' AND {_SILENT} AND leader IS NULL AND quarantined_at IS NULL) AS before"
)
_PLACE = (
    "(SELECT {own} < :at_once AND (silent_before < :all_are_silent OR fresh + silent < :at_once)"
    f" FROM ({_COUNTS}) AS counts)"
)

NOBODY_FRESH_WAITS = f"NOT {_WAITS.format(line=_FRESH)}"
PLACE_FOR_FRESH = _PLACE.format(own="fresh")
FRESH_MAY_GO = f"{_WAITS.format(line=_FRESH)} AND {PLACE_FOR_FRESH}"
SILENT_MAY_GO = f"{_WAITS.format(line=_SILENT)} AND {_PLACE.format(own='silent')}"
