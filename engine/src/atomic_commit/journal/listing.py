"""What people look for in the journal."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from atomic_commit.journal.records import State, TransactionRecord, read_all, with_time
from atomic_commit.journal.schema import transactions as table

#: Beside the states of the protocol: recovery leaves it alone until a person has looked at it.
QUARANTINED = "quarantined"
STATES = (*(str(state) for state in State), QUARANTINED)


def not_settled(
    session: Session, state: str | None = None, *, older_than: float = 0.0, limit: int
) -> list[TransactionRecord]:
    """What is undecided, owed or quarantined, the oldest first; of it what is in this state (one of `STATES`) and was
    accepted more than `older_than` seconds ago."""
    old_enough = table.c.created_at <= func.now() - func.make_interval(0, 0, 0, 0, 0, 0, older_than)
    statement = select(table).where(table.c.settled_at.is_(None), old_enough, *_of_state(state))
    return read_all(session, with_time(statement.order_by(table.c.created_at, table.c.id).limit(limit)))


def aborted_for(session: Session, causes: Sequence[str], *, limit: int) -> list[TransactionRecord]:
    """What was aborted for one of these causes, the newest first."""
    conditions = table.c.state == State.ABORTED, table.c.cause["cause"].as_string().in_(causes)
    statement = select(table).where(*conditions).order_by(table.c.created_at.desc(), table.c.id.desc())
    return read_all(session, with_time(statement.limit(limit)))


def counts_of_unsettled(session: Session) -> tuple[dict[str, int], float | None]:
    """How many are undecided, owed to a participant, and quarantined; and the age of the oldest in seconds, or None."""
    quarantined = table.c.quarantined_at.is_not(None)
    undecided = table.c.state == State.PREPARING
    groups = {"undecided": undecided & ~quarantined, "owed": ~undecided & ~quarantined, QUARANTINED: quarantined}
    oldest = func.extract("epoch", func.clock_timestamp() - func.min(table.c.created_at))
    columns = [func.count().filter(condition) for condition in groups.values()]
    *numbers, seconds = session.execute(select(*columns, oldest).where(table.c.settled_at.is_(None))).one()
    return dict(zip(groups, numbers, strict=True)), None if seconds is None else float(seconds)


def _of_state(state: str | None) -> list[sa.ColumnElement[bool]]:
    if state is None:
        return []
    if state == QUARANTINED:
        return [table.c.quarantined_at.is_not(None)]
    return [table.c.state == state, table.c.quarantined_at.is_(None)]
