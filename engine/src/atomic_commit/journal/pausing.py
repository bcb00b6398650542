"""Whether transactions are accepted: said by the one row of ``database_identity``."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from atomic_commit.errors import Paused
from atomic_commit.journal.schema import database_identity as table
from atomic_commit.journal.terms import NOW

#: SQL: the condition that transactions are accepted.
NOT_PAUSED = "NOT EXISTS (SELECT FROM database_identity WHERE paused_at IS NOT NULL)"


@dataclass(frozen=True)
class Pause:
    """``since`` when nothing is accepted, how many seconds (``age``) that is, and what a person has said why."""

    since: datetime
    age: float
    because: str | None


def pause(session: Session, because: str | None) -> None:
    """Accept nothing from the commit on. Who pauses again may say another reason; since when stays."""
    since = sa.func.coalesce(table.c.paused_at, NOW)
    reason = sa.func.coalesce(sa.cast(because, sa.Text), table.c.paused_because)
    session.execute(sa.update(table).values(paused_at=since, paused_because=reason))


def resume(session: Session) -> None:
    """Accept transactions again."""
    session.execute(sa.update(table).values(paused_at=None, paused_because=None))


def read_pause(session: Session) -> Pause | None:
    """The pause that there is, or None."""
    age = sa.func.extract("epoch", NOW - table.c.paused_at)
    row = session.execute(sa.select(table.c.paused_at, age, table.c.paused_because)).first()
    return Pause(row[0], float(row[1]), row[2]) if row and row[0] else None


def paused(session: Session) -> Paused:
    """What to raise where nothing was accepted."""
    found = read_pause(session)
    return Paused(found.because if found else None)
