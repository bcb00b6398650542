"""What the journal says: its rows as values, and the queries that read them. Nothing here writes.

Functions take the session they belong to. A record is a snapshot: ``read_at`` is the database's clock when it was
taken, so that whether something is due or over is judged by one clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from atomic_commit.schema import transaction_branches as branches_table
from atomic_commit.schema import transactions as table
from atomic_commit.votes import Vote


class State(StrEnum):
    """How far the decision is. It changes once."""

    PREPARING = "preparing"  #: accepted; the branches are being prepared, or will be
    COMMITTED = "committed"  #: decided: every branch is or will be committed
    ABORTED = "aborted"  #: decided: every branch is or will be rolled back


class Outcome(StrEnum):
    """What a branch has been told, once its attempt is over."""

    COMMIT = "commit"
    ROLLBACK = "rollback"


@dataclass(frozen=True)
class IdempotencyKey:
    """A client's own name for a request: unique a caller and route; `fingerprint` tells whether it is the same one."""

    caller: str
    route: str
    key: str
    fingerprint: str


@dataclass(frozen=True)
class BranchRecord:
    """One branch of one attempt, as the coordinator knows it."""

    name: str
    attempt: int
    position: int
    task_id: str
    dispatched_at: datetime
    status: str | None
    vote: str | None
    outcome: Outcome | None
    decided_at: datetime | None
    settled_at: datetime | None

    @property
    def owed(self) -> bool:
        """Whether the participant still has to answer an outcome."""
        return self.outcome is not None and self.settled_at is None


@dataclass(frozen=True)
class TransactionRecord:
    """One transaction with the branches of all its attempts, in order."""

    id: UUID
    kind: str
    state: State
    attempt: int
    failed_attempts: int
    dispatched: bool
    values: dict[str, Any]
    result: dict[str, Any] | None
    cause: dict[str, Any] | None
    error: str | None
    created_at: datetime
    deadline: datetime
    patience_until: datetime
    decided_at: datetime | None
    settled_at: datetime | None
    quarantined_at: datetime | None
    next_look_at: datetime | None
    fingerprint: str | None
    read_at: datetime
    branches: tuple[BranchRecord, ...] = field(default=())

    @property
    def quarantined(self) -> bool:
        """Whether it is put aside until a person has looked at it."""
        return self.quarantined_at is not None and self.settled_at is None

    @property
    def decided(self) -> bool:
        return self.state is not State.PREPARING

    @property
    def due(self) -> bool:
        """Whether the pause before the next look (or the next attempt) is over."""
        return self.next_look_at is not None and self.next_look_at <= self.read_at

    @property
    def current_branches(self) -> tuple[BranchRecord, ...]:
        """The branches of the attempt that is under way or was the last."""
        return tuple(b for b in self.branches if b.attempt == self.attempt)

    @property
    def silent_attempts(self) -> int:
        """How many earlier attempts were given up because nobody said no, yet somebody said nothing."""
        votes: dict[int, set[str | None]] = {}
        for branch in self.branches:
            if branch.attempt < self.attempt:
                votes.setdefault(branch.attempt, set()).add(branch.vote)
        return sum(Vote.SILENT in cast and Vote.NO not in cast for cast in votes.values())

    @property
    def owed_branches(self) -> tuple[BranchRecord, ...]:
        """The branches, of any attempt, whose participants have not answered yet."""
        return tuple(b for b in self.branches if b.owed)


def read(session: Session, transaction: UUID) -> TransactionRecord | None:
    """The transaction with its branches, or None."""
    found = read_all(session, select(table).where(table.c.id == transaction))
    return found[0] if found else None


def read_by_key(session: Session, key: IdempotencyKey) -> TransactionRecord | None:
    """The transaction that was accepted under this idempotency key, or None."""
    found = read_all(
        session,
        select(table).where(
            table.c.idempotency_caller == key.caller,
            table.c.idempotency_route == key.route,
            table.c.idempotency_key == key.key,
        ),
    )
    return found[0] if found else None


def read_all(session: Session, statement: sa.Select[Any]) -> list[TransactionRecord]:
    """The transactions that `statement` (a select of the transactions table) finds, each with its branches."""
    found = session.execute(statement.add_columns(func.clock_timestamp().label("read_at"))).mappings().all()
    branches: dict[UUID, list[BranchRecord]] = {row["id"]: [] for row in found}
    if branches:
        for row in session.execute(
            select(branches_table)
            .where(branches_table.c.transaction_id.in_(branches))
            .order_by(branches_table.c.attempt, branches_table.c.position)
        ).mappings():
            branches[row["transaction_id"]].append(_branch_record(row))
    return [_transaction_record(row, branches[row["id"]]) for row in found]


def not_settled(
    session: Session, *conditions: sa.ColumnElement[bool], older_than: float = 0.0, limit: int
) -> list[TransactionRecord]:
    """What is undecided, owed or quarantined, the oldest first; of it what meets the `conditions` on the transactions
    table and was accepted more than `older_than` seconds ago."""
    old_enough = table.c.created_at <= func.now() - func.make_interval(0, 0, 0, 0, 0, 0, older_than)
    statement = select(table).where(table.c.settled_at.is_(None), old_enough, *conditions)
    return read_all(session, statement.order_by(table.c.created_at, table.c.id).limit(limit))


def decided_among(session: Session, ids: Sequence[UUID]) -> dict[UUID, bool]:
    """Those of `ids` that are decided, and whether their participants have all answered too."""
    settled = table.c.settled_at.is_not(None)
    rows = session.execute(
        select(table.c.id, settled.label("settled")).where(table.c.id.in_(ids), table.c.state != State.PREPARING)
    )
    return {row.id: row.settled for row in rows}


def _transaction_record(row: sa.RowMapping, branches: Sequence[BranchRecord]) -> TransactionRecord:
    names = TransactionRecord.__dataclass_fields__.keys() - {"branches", "state"}
    return TransactionRecord(**{name: row[name] for name in names}, state=State(row["state"]), branches=tuple(branches))


def _branch_record(row: sa.RowMapping) -> BranchRecord:
    names = BranchRecord.__dataclass_fields__.keys() - {"outcome"}
    return BranchRecord(
        **{name: row[name] for name in names}, outcome=Outcome(row["outcome"]) if row["outcome"] else None
    )
