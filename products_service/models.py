"""The products service's tables."""

from __future__ import annotations

from datetime import datetime

from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import DateTime, Identity, MetaData, Text, func
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from atomic_commit.journal.schema import metadata as protocol_tables

metadata = MetaData()
for table in protocol_tables.sorted_tables:
    table.to_metadata(metadata)

#: PostgreSQL's largest integer.
_MOST = 2**31 - 1


class Base(DeclarativeBase):
    metadata = metadata


db = SQLAlchemy(model_class=Base)


class Product(db.Model):  # type: ignore[name-defined, misc]
    """Something that the shop sells. ``price`` in minor units (cents); ``capacity`` is the most that the warehouse
    holds, or None for no limit; 0 ≤ stock ≤ capacity always, which the table checks as well."""

    __tablename__ = "products"

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    price: Mapped[int]
    stock: Mapped[int]
    capacity: Mapped[int | None]
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())

    @property
    def room(self) -> int:
        return room(self.capacity)


def room(capacity: int | None) -> int:
    """The most that may be in stock: the capacity, else what the column can count."""
    return _MOST if capacity is None else capacity
