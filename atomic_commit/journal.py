"""The coordinator's journal: every statement that changes the rows which are the only truth about a transaction.

Functions take the session of the local transaction they belong to; none of them commits. Times are the database's
(``clock_timestamp()``), so that the clocks of the processes don't matter. ``records`` reads the rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from atomic_commit.records import IdempotencyKey, Outcome, State
from atomic_commit.schema import transaction_branches as branches_table
from atomic_commit.schema import transactions as table
from atomic_commit.votes import Ballot

_now = func.clock_timestamp()


def _in(seconds: float) -> Any:
    return _now + sa.func.make_interval(0, 0, 0, 0, 0, 0, seconds)


#: Whatever moves a transaction on shows that it is no hopeless case.
_PROGRESS: dict[str, Any] = {"looks": 0, "failures": 0, "quarantined_at": None}


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
        .values(dispatched=True, patience_until=_in(patience), next_look_at=_in(look_after), **_PROGRESS),
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
            dispatched=True,
            **_PROGRESS,
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
            **_PROGRESS,
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
        .values(settled_at=_now, next_look_at=None, error=None, quarantined_at=None),
    )


# ---- recovery


def claim_due(session: Session, limit: int, pauses: Sequence[float], farthest: float) -> list[tuple[UUID, float]]:
    """Claim transactions that are due for a look: (id, seconds overdue), longest overdue first.

    Each claimed one is put off, further with every look (`pauses[looks]` seconds, the last for all further ones), so
    that two recoverers never hold the same one, one that can't be settled does not crowd out the rest, and a
    recoverer that dies in the middle has lost nothing.

    `farthest`: nothing is ever put off by more seconds. What seems to be was, by a clock that has since been moved
    back, and is due as well.
    """
    due = (
        select(table.c.id, func.extract("epoch", _now - table.c.next_look_at).label("overdue"))
        .where(sa.or_(table.c.next_look_at <= func.now(), table.c.next_look_at > _in(farthest)))
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


def release(session: Session, transaction: UUID) -> bool:
    """Let recovery take up a transaction that was put aside. False for one that is not quarantined. The decision, and
    what was answered, stay as they are.

    It is due since it was put aside: after a long time recovery sees that nobody was there to listen, and holds the
    silence of that time neither against its branches nor against its deadline.
    """
    return _changed(
        session,
        update(table)
        .where(table.c.id == transaction, table.c.quarantined_at.is_not(None), table.c.settled_at.is_(None))
        .values(next_look_at=table.c.quarantined_at, **_PROGRESS),
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


def _undecided(transaction: UUID, attempt: int) -> Any:
    return sa.and_(table.c.id == transaction, table.c.state == State.PREPARING, table.c.attempt == attempt)


def _attempt(transaction: UUID, attempt: int) -> Any:
    return sa.and_(branches_table.c.transaction_id == transaction, branches_table.c.attempt == attempt)


def _changed(session: Session, statement: Any) -> bool:
    """Whether the conditional update met its row."""
    return bool(session.execute(statement.returning(table.c.id)).first())
