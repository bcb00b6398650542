"""What one side of a transaction has done and the other has forgotten, kept until somebody has dealt with it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from atomic_commit.declare import Values

#: What is lost: a participant has forgotten a branch; a coordinator has forgotten a transaction.
BRANCH, TRANSACTION = "branch", "transaction"
#: Why a loss is closed, where not a person has said why: then it may be found again.
REDONE, FOUND_AGAIN = "redone", "found again"


@dataclass(frozen=True)
class Loss:
    """One branch of one attempt of which the other side knows nothing.

    ``transaction``, ``attempt``: the attempt, by its leader; ``kind``: of transaction, with the service that
    coordinates it. ``lost``: ``BRANCH`` or ``TRANSACTION``, by ``service``. ``values``: for each transaction that has
    lost it (its id as text) what was recorded for it. ``found``: what is there instead. ``safe_to_redo``: as the
    branch is declared. ``age``: seconds since the attempt. ``found_at``: when that was first seen, or None.
    """

    transaction: UUID
    attempt: int
    branch: str
    lost: str
    service: str
    kind: str
    values: dict[str, Values]
    found: str = "nothing"
    safe_to_redo: bool = False
    age: float = 0.0
    found_at: datetime | None = None

    @property
    def key(self) -> tuple[UUID, int, str, str]:
        return self.transaction, self.attempt, self.branch, self.lost

    def __str__(self) -> str:
        what = "the branch" if self.lost == BRANCH else "the transaction of"
        return f"{self.kind} {self.transaction}, attempt {self.attempt}: {self.service} has lost {what} {self.branch}"


_COLUMNS = 'transaction_id, attempt, branch, lost, service, kind, "values", found_at'
_TYPES = (
    sa.column("transaction_id", sa.UUID),
    *(sa.column(name) for name in ("attempt", "branch", "lost", "service", "kind")),
    sa.column("values", sa.JSON),
    sa.column("found_at", sa.DateTime(timezone=True)),
)
_RECORD = sa.text(
    'INSERT INTO losses (transaction_id, attempt, branch, lost, service, kind, "values")'
    " SELECT * FROM unnest(CAST(:transactions AS uuid[]), CAST(:attempts AS integer[]), CAST(:branches AS text[]),"
    "  CAST(:lost AS text[]), CAST(:services AS text[]), CAST(:kinds AS text[]),"
    "  CAST(CAST(:values AS text[]) AS json[]))"
    " ON CONFLICT (transaction_id, attempt, branch, lost) DO UPDATE SET"
    '  "values" = CAST(CAST(losses."values" AS jsonb) || CAST(excluded."values" AS jsonb) AS json),'
    "  found_at = CASE WHEN losses.closed_at IS NULL THEN losses.found_at ELSE clock_timestamp() END,"
    "  closed_at = NULL, closed_because = NULL"
    # What a person has closed stays closed, unless more is lost of it.
    " WHERE losses.closed_at IS NULL OR losses.closed_because = ANY (CAST(:may_be_found_again AS text[]))"
    '  OR NOT CAST(losses."values" AS jsonb) ?& ARRAY(SELECT json_object_keys(excluded."values"))'
    " RETURNING transaction_id, attempt, branch, lost, found_at, found_at >= statement_timestamp() AS is_new"
)
_KEYS = (
    "unnest(CAST(:transactions AS uuid[]), CAST(:attempts AS integer[]), CAST(:branches AS text[]),"
    " CAST(:lost AS text[])) AS key (transaction_id, attempt, branch, lost)"
)
_CLOSE = sa.text(
    f"UPDATE losses SET closed_at = clock_timestamp(), closed_because = :because FROM {_KEYS}"
    " WHERE (losses.transaction_id, losses.attempt, losses.branch, losses.lost)"
    "  = (key.transaction_id, key.attempt, key.branch, key.lost) AND closed_at IS NULL"
)
_CLOSE_OF = sa.text(
    "UPDATE losses SET closed_at = clock_timestamp(), closed_because = :because WHERE closed_at IS NULL"
    ' AND (transaction_id = :transaction OR CAST("values" AS jsonb) ? CAST(:transaction AS text))'
    f" RETURNING {_COLUMNS}"
).columns(*_TYPES)
_COUNT = sa.text("SELECT count(*) FROM losses WHERE closed_at IS NULL")
_OPEN = sa.text(
    f"SELECT {_COLUMNS} FROM losses"
    " WHERE closed_at IS NULL AND (transaction_id, attempt, branch, lost) > (:transaction, :attempt, :branch, :lost)"
    " ORDER BY transaction_id, attempt, branch, lost LIMIT :size"
).columns(*_TYPES)


def record(session: Session, losses: Sequence[Loss]) -> list[tuple[Loss, datetime, bool]]:
    """Write them down, each key once. Returns each with the time at which it was first found, and whether that is now;
    without those that a person has dealt with."""
    found = session.execute(
        _RECORD,
        {
            **_named(losses),
            "services": [loss.service for loss in losses],
            "kinds": [loss.kind for loss in losses],
            "values": [json.dumps(loss.values) for loss in losses],
            "may_be_found_again": [REDONE, FOUND_AGAIN],
        },
    )
    kept = {tuple(row[:4]): row for row in found}
    return [(loss, kept[loss.key].found_at, kept[loss.key].is_new) for loss in losses if loss.key in kept]


def close(session: Session, losses: Sequence[Loss], because: str) -> None:
    """Somebody or something has dealt with these."""
    session.execute(_CLOSE, {**_named(losses), "because": because})


def close_of(session: Session, transaction: UUID, because: str) -> list[Loss]:
    """A person has dealt with all that is lost of this transaction and of who shared its attempt, or of those whose
    attempt it led. Returns what was open."""
    return [_loss(row) for row in session.execute(_CLOSE_OF, {"transaction": transaction, "because": because})]


def count_open(session: Session) -> int:
    """How many losses nobody has dealt with."""
    return int(session.scalar(_COUNT) or 0)


def page_of_open(session: Session, after: tuple[UUID, int, str, str], size: int) -> list[Loss]:
    """The next ones that nobody has dealt with, in the order of their keys, at most `size`."""
    given = dict(zip(("transaction", "attempt", "branch", "lost"), after, strict=True))
    return [_loss(row) for row in session.execute(_OPEN, {**given, "size": size})]


def _loss(row: Any) -> Loss:
    return replace(Loss(*row[:7]), found_at=row.found_at)


def _named(losses: Sequence[Loss]) -> dict[str, list[Any]]:
    return {
        "transactions": [loss.transaction for loss in losses],
        "attempts": [loss.attempt for loss in losses],
        "branches": [loss.branch for loss in losses],
        "lost": [loss.lost for loss in losses],
    }
