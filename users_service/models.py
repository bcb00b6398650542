"""The users service's tables."""

from __future__ import annotations

import uuid
from datetime import datetime

from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import DateTime, Identity, Index, MetaData, Text, func
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from atomic_commit.journal.schema import metadata as protocol_tables

metadata = MetaData()
for table in protocol_tables.sorted_tables:
    table.to_metadata(metadata)


class Base(DeclarativeBase):
    metadata = metadata


db = SQLAlchemy(model_class=Base)


class User(db.Model):  # type: ignore[name-defined, misc]
    """A customer. ``removing`` from the acceptance of a removal until its decision, which either deletes the row or
    makes it ``active`` again; ``removed_by`` names that transaction."""

    __tablename__ = "users"

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    email: Mapped[str] = mapped_column(Text)
    status: Mapped[str] = mapped_column(Text, server_default="active")
    removed_by: Mapped[uuid.UUID | None]
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())

    __table_args__ = (Index("users_email", func.lower(email), unique=True),)
