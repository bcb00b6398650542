"""The coordinator's journal: the rows that are the only truth about a transaction, and every statement on them.

Functions take the session of the local transaction they belong to; none of them commits. Times are the database's
(``clock_timestamp()``), so that the clocks of the processes don't matter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from atomic_commit.schema import transaction_branches as branches_table
from atomic_commit.schema import transactions as table
from atomic_commit.votes import Ballot, Vote


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


_now = func.clock_timestamp()


def _in(seconds: float) -> Any:
    return _now + sa.func.make_interval(0, 0, 0, 0, 0, 0, seconds)


# ---- begin and dispatch


def insert_transaction(
    session: Session,
    transaction: UUID,
    kind: str,
    values: dict[str, Any],
    key: IdempotencyKey | None,
    *,
    deadline: float,
    patience: float,
    look_after: float,
) -> None:
    """Record an accepted transaction, its first attempt dispatched (the caller publishes right after its commit; if it
    dies before, the silence is noticed). Raises IntegrityError where the idempotency key is taken."""
    session.execute(
        insert(table).values(
            id=transaction,
            kind=kind,
            state=State.PREPARING,
            attempt=1,
            dispatched=True,
            values=values,
            deadline=_in(deadline),
            patience_until=_in(patience),
            next_look_at=_in(look_after),
            idempotency_caller=key.caller if key else None,
            idempotency_route=key.route if key else None,
            idempotency_key=key.key if key else None,
            fingerprint=key.fingerprint if key else None,
        )
    )


def take_place(session: Session, transaction: UUID, kind: str) -> bool:
    """Take the place of a transaction that may or may not have begun, with a settled row. False if it had begun."""
    return _changed(
        session,
        insert(table)
        .values(
            id=transaction,
            kind=kind,
            state=State.ABORTED,
            attempt=1,
            dispatched=False,
            values={},
            cause={"branch": "begin", "cause": "lost", "reason": "lost", "detail": "begin was lost", "field": None},
            deadline=_now,
            patience_until=_now,
            decided_at=_now,
            settled_at=_now,
        )
        .on_conflict_do_nothing(),
    )


def insert_branches(session: Session, transaction: UUID, attempt: int, task_ids: Mapping[str, str]) -> None:
    """Record the branches of an attempt (name → task id, in order). Repeating it changes nothing."""
    session.execute(
        insert(branches_table)
        .values(
            [
                {
                    "transaction_id": transaction,
                    "attempt": attempt,
                    "name": name,
                    "position": position,
                    "task_id": task_id,
                }
                for position, (name, task_id) in enumerate(task_ids.items())
            ]
        )
        .on_conflict_do_nothing()
    )


def mark_dispatched(session: Session, transaction: UUID, attempt: int, *, patience: float, look_after: float) -> bool:
    """Claim the right to publish an attempt that is not published: only when every earlier attempt is settled, so that
    its locks are gone. False if somebody else has it, or it is not time yet."""
    owed = select(branches_table.c.name).where(
        branches_table.c.transaction_id == transaction,
        branches_table.c.outcome.is_not(None),
        branches_table.c.settled_at.is_(None),
    )
    return _changed(
        session,
        update(table)
        .where(_undecided(transaction, attempt), ~table.c.dispatched, ~sa.exists(owed))
        .values(dispatched=True, patience_until=_in(patience), next_look_at=_in(look_after), looks=0, failures=0),
    )


def mark_unpublished(session: Session, transaction: UUID, attempt: int, pause: float) -> None:
    """Take back the claim: the broker took nothing. Recovery publishes the attempt later."""
    session.execute(
        update(table)
        .where(_undecided(transaction, attempt))
        .values(dispatched=False, next_look_at=_in(pause), error="the broker could not be reached")
    )


# ---- decide


def record_decision(
    session: Session, transaction: UUID, attempt: int, state: State, cause: dict[str, Any] | None, look_after: float
) -> bool:
    """The conditional update that decides: whoever wins it has decided, and nobody decides twice.

    With the local changes in the same local transaction, its commit is the commit point.
    """
    return _changed(
        session,
        update(table)
        .where(_undecided(transaction, attempt))
        .values(
            state=state,
            cause=cause,
            decided_at=_now,
            next_look_at=_in(look_after),
            looks=0,
            failures=0,
            dispatched=True,
        ),
    )


def record_result(session: Session, transaction: UUID, result: dict[str, Any] | None) -> None:
    """Keep what the coordinator's commit function returned, for the client's answer and for its repetitions."""
    if result is not None:
        session.execute(update(table).where(table.c.id == transaction).values(result=result))


def record_retry(
    session: Session, transaction: UUID, attempt: int, cause: dict[str, Any] | None, pause: float, *, failed: bool
) -> bool:
    """End an attempt without a decision: the next one waits for `pause` seconds and for this one to be settled.
    `failed`: it counts among the few that may fail with an unexpected error."""
    return _changed(
        session,
        update(table)
        .where(_undecided(transaction, attempt))
        .values(
            attempt=attempt + 1,
            failed_attempts=table.c.failed_attempts + int(failed),
            dispatched=False,
            cause=cause,
            next_look_at=_in(pause),
            looks=0,
            failures=0,
        ),
    )


def record_outcomes(
    session: Session, transaction: UUID, attempt: int, outcome: Outcome, ballots: Sequence[Ballot]
) -> None:
    """Write down what every branch of the attempt voted and what it is told: every branch, whatever it voted."""
    changes: dict[str, Any] = {"outcome": outcome, "decided_at": _now}
    if ballots:
        by_name = branches_table.c.name
        changes["vote"] = sa.case({b.branch: str(b.vote) for b in ballots}, value=by_name, else_=None)
        changes["status"] = sa.case({b.branch: b.status for b in ballots}, value=by_name, else_=None)
    session.execute(update(branches_table).where(_attempt(transaction, attempt)).values(changes))


# ---- settle


def record_settled_branch(session: Session, transaction: UUID, attempt: int, name: str) -> None:
    """A participant has answered the outcome of this branch.

    Locks the transaction's row first: of two answers that arrive at once, each would otherwise miss the other's
    uncommitted one, and neither would be the last.
    """
    session.execute(select(table.c.id).where(table.c.id == transaction).with_for_update())
    session.execute(
        update(branches_table)
        .where(
            _attempt(transaction, attempt),
            branches_table.c.name == name,
            branches_table.c.outcome.is_not(None),
            branches_table.c.settled_at.is_(None),
        )
        .values(settled_at=_now)
    )


def record_settled(session: Session, transaction: UUID) -> bool:
    """Settle a decided transaction whose participants have all answered. It is then out of recovery's sight."""
    owed = select(branches_table.c.name).where(
        branches_table.c.transaction_id == transaction, branches_table.c.settled_at.is_(None)
    )
    return _changed(
        session,
        update(table)
        .where(
            table.c.id == transaction,
            table.c.state != State.PREPARING,
            table.c.settled_at.is_(None),
            ~sa.exists(owed),
        )
        .values(settled_at=_now, next_look_at=None, error=None),
    )


# ---- recovery


def claim_due(session: Session, limit: int, pauses: Sequence[float]) -> list[tuple[UUID, float]]:
    """Claim transactions that are due for a look: (id, seconds overdue), longest overdue first.

    Each claimed one is put off, further with every look (`pauses[looks]` seconds, the last for all further ones), so
    that two recoverers never hold the same one, one that can't be settled does not crowd out the rest, and a
    recoverer that dies in the middle has lost nothing.
    """
    due = (
        select(table.c.id, func.extract("epoch", _now - table.c.next_look_at).label("overdue"))
        .where(table.c.next_look_at <= func.now())
        .order_by(table.c.next_look_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .cte("due")
    )
    steps = sa.case(dict(enumerate(pauses)), value=table.c.looks, else_=pauses[-1])
    put_off = _now + sa.func.make_interval(0, 0, 0, 0, 0, 0, sa.cast(steps, sa.Float))
    listening = sa.and_(table.c.state == State.PREPARING, table.c.dispatched, table.c.patience_until > _now)
    claimed = session.execute(
        update(table)
        .where(table.c.id == due.c.id)
        .values(
            looks=table.c.looks + 1,
            # an attempt whose patience runs out before is looked at right then
            next_look_at=sa.case((listening, func.least(put_off, table.c.patience_until)), else_=put_off),
        )
        .returning(table.c.id, due.c.overdue)
    )
    return [(row.id, float(row.overdue)) for row in claimed]


def make_all_due(session: Session) -> None:
    """Bring everything unsettled forward to now: at a worker's start, what waits has waited long enough."""
    session.execute(update(table).where(table.c.next_look_at > _now).values(next_look_at=_now))


def restart_clocks(session: Session, transaction: UUID, attempt: int, patience: float) -> None:
    """Start the attempt's patience anew and leave time before the deadline, because nobody was there to listen."""
    session.execute(
        update(table)
        .where(_undecided(transaction, attempt))
        .values(patience_until=_in(patience), deadline=func.greatest(table.c.deadline, _in(4 * patience)))
    )


def record_quarantine(session: Session, transaction: UUID, error: str) -> None:
    """Put a transaction aside that can't be settled: it stays in the journal, with its decision, for a person."""
    session.execute(
        update(table)
        .where(table.c.id == transaction, table.c.settled_at.is_(None))
        .values(quarantined_at=_now, next_look_at=None, error=error)
    )


def record_error(session: Session, transaction: UUID, error: str) -> int:
    """Keep an unexpected error where people can see it. Returns how many there have been since the last progress."""
    statement = (
        update(table)
        .where(table.c.id == transaction, table.c.settled_at.is_(None))
        .values(error=error, failures=table.c.failures + 1)
        .returning(table.c.failures)
    )
    return session.scalar(statement) or 0


# ---- read


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
    found = session.execute(statement.add_columns(_now.label("read_at"))).mappings().all()
    branches: dict[UUID, list[BranchRecord]] = {row["id"]: [] for row in found}
    if branches:
        for row in session.execute(
            select(branches_table)
            .where(branches_table.c.transaction_id.in_(branches))
            .order_by(branches_table.c.attempt, branches_table.c.position)
        ).mappings():
            branches[row["transaction_id"]].append(_branch_record(row))
    return [_transaction_record(row, branches[row["id"]]) for row in found]


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


def _undecided(transaction: UUID, attempt: int) -> Any:
    return sa.and_(table.c.id == transaction, table.c.state == State.PREPARING, table.c.attempt == attempt)


def _attempt(transaction: UUID, attempt: int) -> Any:
    return sa.and_(branches_table.c.transaction_id == transaction, branches_table.c.attempt == attempt)


def _changed(session: Session, statement: Any) -> bool:
    """Whether the conditional update met its row."""
    return bool(session.execute(statement.returning(table.c.id)).first())
