"""In which database each participant prepares: written down at first sight."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from atomic_commit.journal.schema import participant_databases as table


def pin_database(session: Session, service: str, database: str) -> None:
    """Write down where the participant prepares, if nothing is written down yet."""
    session.execute(insert(table).values(service=service, database=database).on_conflict_do_nothing())


def pinned_databases(session: Session) -> dict[str, str]:
    """Service → id of its database."""
    return {service: str(database) for service, database in session.execute(select(table.c.service, table.c.database))}


def forget_database(session: Session, service: str) -> str | None:
    """Let the next database that answers for this service be taken for its own. Returns the id of the one forgotten."""
    forgotten = session.scalar(sa.delete(table).where(table.c.service == service).returning(table.c.database))
    return str(forgotten) if forgotten else None
