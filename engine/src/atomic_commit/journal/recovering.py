"""What recovery claims, puts off and quarantines, and what a person releases."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from atomic_commit.journal.records import State, of_attempt
from atomic_commit.journal.schema import transaction_branches as branches_table
from atomic_commit.journal.schema import transactions as table
from atomic_commit.journal.terms import NOW, OWED, PROGRESS, changed, in_seconds


def claim_due(
    session: Session, limit: int, pauses: Sequence[float], owed_pauses: Sequence[float], farthest: float
) -> list[tuple[UUID, float]]:
    """Claim transactions that are due for a look: (id, seconds overdue), longest overdue first.

    Each claimed one is put off, further with every look (`pauses[looks]` seconds, the last for all further ones;
    `owed_pauses` where there is nothing left but to tell participants), so that two recoverers never hold the same one,
    one that can't be settled does not crowd out the rest, and a recoverer that dies in the middle has lost nothing.

    `farthest`: nothing is put off by more seconds than that, or than twice its last pause. What seems to be was, by a
    clock that has since been moved back, and is due as well.
    """
    last_pause = sa.case((table.c.looks > 0, _pause(table.c.looks - 1, pauses, owed_pauses)), else_=0.0)
    moved_back = sa.and_(
        table.c.next_look_at > in_seconds(farthest),
        table.c.next_look_at > in_seconds(2 * sa.cast(last_pause, sa.Float)),
    )
    due = (
        select(table.c.id, func.extract("epoch", NOW - table.c.next_look_at).label("overdue"))
        .where(sa.or_(table.c.next_look_at <= func.now(), moved_back))
        .order_by(table.c.next_look_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .cte("due")
    )
    put_off = in_seconds(sa.cast(_pause(table.c.looks, pauses, owed_pauses), sa.Float))
    listening = sa.and_(table.c.state == State.PREPARING, table.c.dispatched, table.c.patience_until > NOW)
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


def _pause(looks: Any, pauses: Sequence[float], owed_pauses: Sequence[float]) -> Any:
    """Seconds until the next look after so many."""
    only_owes = sa.or_(table.c.state != State.PREPARING, table.c.waits_until.is_not(None))
    return sa.case(
        (only_owes, sa.case(dict(enumerate(owed_pauses)), value=looks, else_=owed_pauses[-1])),
        else_=sa.case(dict(enumerate(pauses)), value=looks, else_=pauses[-1]),
    )


def put_back(session: Session, transactions: Collection[UUID], pause: float) -> None:
    """Take back the last look at these, which told nobody anything: they are due again in `pause` seconds."""
    session.execute(
        update(table)
        .where(table.c.id.in_(transactions), table.c.next_look_at.is_not(None))
        .values(
            next_look_at=func.least(table.c.next_look_at, in_seconds(pause)), looks=func.greatest(table.c.looks - 1, 0)
        )
    )


def bring_owed_forward(session: Session, service: str) -> int:
    """Everything that this participant owes an answer for is due now, and told often again. Returns how many
    transactions that is."""
    owes = sa.exists(
        select(1).where(
            branches_table.c.transaction_id == table.c.id, branches_table.c.name.startswith(f"{service}."), *OWED
        )
    )
    statement = update(table).where(table.c.next_look_at > NOW, owes).values(next_look_at=NOW, looks=0)
    return len(changed(session, statement))


def make_all_due(session: Session) -> None:
    """Bring everything unsettled forward to now: at a worker's start, what waits has waited long enough."""
    session.execute(update(table).where(table.c.next_look_at > NOW).values(next_look_at=NOW))
    session.execute(update(table).where(table.c.waits_until > NOW).values(waits_until=NOW))


def bring_forward(session: Session, kinds: Collection[str], farthest: float) -> None:
    """Let those of these kinds go now that seem to wait for more than so many seconds, for which nobody is ever told to
    wait: it was written by a clock that has since been moved back."""
    far = func.statement_timestamp() + func.make_interval(0, 0, 0, 0, 0, 0, farthest)
    session.execute(update(table).where(table.c.kind.in_(kinds), table.c.waits_until > far).values(waits_until=NOW))


def restart_clocks(session: Session, leader: UUID, number: int, patience: float) -> None:
    """Start the attempt's patience anew and leave time before the deadline, because nobody was there to listen."""
    session.execute(
        update(table)
        .where(of_attempt(leader, number))
        .values(patience_until=in_seconds(patience), deadline=func.greatest(table.c.deadline, in_seconds(4 * patience)))
    )


def record_quarantine(session: Session, transaction: UUID, error: str) -> None:
    """Quarantine a transaction that can't be settled, with those that share or shared its last attempt: they can't
    either. They stay in the journal, with their decisions, for a person."""
    session.execute(
        update(table)
        .where(_with_others(transaction), table.c.settled_at.is_(None))
        .values(quarantined_at=NOW, next_look_at=None, error=error)
    )


def release(session: Session, transaction: UUID) -> bool:
    """Let recovery take up a quarantined transaction again, with those that share its attempt. False for one that
    is not quarantined. The decision, and what was answered, stay as they are.

    It is due since it was quarantined: after a long time recovery sees that nobody was there to listen, and holds the
    silence of that time neither against its branches nor against its deadline.
    """
    return bool(
        changed(
            session,
            update(table)
            .where(_with_others(transaction), table.c.quarantined_at.is_not(None), table.c.settled_at.is_(None))
            .values(next_look_at=table.c.quarantined_at, **PROGRESS),
        )
    )


def quarantined_among(session: Session, transactions: Sequence[UUID]) -> list[UUID]:
    """Those of these transactions that are quarantined."""
    aside = table.c.quarantined_at.is_not(None), table.c.settled_at.is_(None)
    return list(session.scalars(select(table.c.id).where(table.c.id.in_(transactions), *aside)))


def record_error(session: Session, transaction: UUID, error: str) -> int:
    """Keep an unexpected error where people can see it. Returns how many there have been since the last progress."""
    statement = (
        update(table)
        .where(table.c.id == transaction, table.c.settled_at.is_(None))
        .values(error=error, failures=table.c.failures + 1)
        .returning(table.c.failures)
    )
    return session.scalar(statement) or 0


def _with_others(transaction: UUID) -> Any:
    """The condition that a row is this transaction's, or of one that is or was last in the same attempt."""
    leader = select(func.coalesce(table.c.leader, table.c.id)).where(table.c.id == transaction).scalar_subquery()
    return sa.or_(table.c.id == leader, table.c.leader == leader)
