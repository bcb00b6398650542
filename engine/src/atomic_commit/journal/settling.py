"""Participants have answered; the last answer settles."""

from __future__ import annotations

from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from atomic_commit.journal.holding import MOVES_ON
from atomic_commit.journal.records import State
from atomic_commit.journal.schema import transaction_branches as branches_table
from atomic_commit.journal.schema import transactions as table
from atomic_commit.journal.terms import LEADING, NOW, OWED
from atomic_commit.postgres.notices import NOTICE


def record_settled_branch(session: Session, transaction: UUID, attempt: int, name: str) -> None:
    """A participant has answered the outcome of this branch.

    Locks the transaction's row first: of two answers that arrive at once, each would otherwise miss the other's
    uncommitted one, and neither would be the last.
    """
    session.execute(_ANSWERED, {"leader": transaction, "attempt": attempt, "name": name})


def record_settled(session: Session, leader: UUID) -> str | None:
    """Settle whoever was decided in the last attempt that `leader` led, once its participants have all answered; they
    are then out of recovery's sight. Returns the kind of those who were in it and are to go into another one, which
    they may do now, if there are any."""
    settled = session.execute(_SETTLE, {"leading": leader}).all()
    return next((row.kind for row in settled if row.state == State.PREPARING), None)


_ANSWERED = sa.text(
    # Not flushed: an answer that a crash of the server takes away is asked for again.
    f"SET LOCAL synchronous_commit = off; {MOVES_ON}"
    # The lock comes first: the statement after this one sees what whoever held it has committed.
    " WITH held AS MATERIALIZED (SELECT id FROM transactions WHERE id = :leader FOR UPDATE)"
    " UPDATE transaction_branches SET settled_at = clock_timestamp() FROM held"
    " WHERE transaction_id = held.id AND attempt = :attempt AND name = :name"
    " AND outcome IS NOT NULL AND settled_at IS NULL"
)

_decided = table.c.state != State.PREPARING
#: Who is asked about is looked at until all have testified, whatever is answered meanwhile.
_goes_on = sa.and_(table.c.waits_until.is_not(None), table.c.asking_since.is_(None))

_SETTLE = (
    update(table)
    .where(
        sa.or_(sa.and_(table.c.id == LEADING, table.c.leader.is_(None)), table.c.leader == LEADING),
        table.c.settled_at.is_(None),
        sa.or_(_decided, _goes_on),
        ~sa.exists(select(1).where(branches_table.c.transaction_id == LEADING, *OWED)),
    )
    .values(
        settled_at=sa.case((_decided, NOW)),
        next_look_at=None,
        error=None,
        quarantined_at=sa.case((_decided, None), else_=table.c.quarantined_at),
    )
    .returning(table.c.state, table.c.kind, NOTICE)
)
