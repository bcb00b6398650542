"""Conditions and values that several of the journal's statements have in common."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import func
from sqlalchemy.orm import Session

from atomic_commit.journal.schema import transaction_branches as branches_table
from atomic_commit.journal.schema import transactions as table

NOW = func.clock_timestamp()
#: Whatever moves a transaction on shows that it is no hopeless case.
PROGRESS: dict[str, Any] = {"looks": 0, "failures": 0, "quarantined_at": None}
#: The condition that a participant still has to answer a branch's outcome.
OWED = (branches_table.c.outcome.is_not(None), branches_table.c.settled_at.is_(None))

# What the statements that are made once are given each time:
#: An attempt's leader, and which of the leader's attempts it is.
LEADING = sa.bindparam("leading", type_=table.c.id.type)
NUMBER = sa.bindparam("number", type_=sa.Integer)
#: The condition that a transaction is among the given `members`.
IS_MEMBER = table.c.id == sa.any_(sa.bindparam("members", type_=sa.ARRAY(table.c.id.type)))


def given_seconds(name: str) -> Any:
    """Seconds that are given under this name."""
    return sa.bindparam(name, type_=sa.Float)


def in_seconds(seconds: Any) -> Any:
    """The time in so many seconds."""
    return NOW + func.make_interval(0, 0, 0, 0, 0, 0, seconds)


def for_leaders(seconds: Any) -> Any:
    """A look in so many seconds for who leads an attempt. Followers need none: the leader's finds them."""
    return sa.case((table.c.leader.is_(None), in_seconds(seconds)))


def changed(session: Session, statement: Any) -> set[UUID]:
    """The rows that the conditional update met."""
    return set(session.scalars(statement.returning(table.c.id)))
