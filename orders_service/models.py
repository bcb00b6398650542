"""The orders service's tables."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import DateTime, ForeignKey, Identity, Index, MetaData, Text, func
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from atomic_commit.journal.schema import metadata as protocol_tables

metadata = MetaData()
for table in protocol_tables.sorted_tables:
    table.to_metadata(metadata)


class Base(DeclarativeBase):
    metadata = metadata


db = SQLAlchemy(model_class=Base)


#: In these states an order holds goods and may yet be cancelled.
UNFULFILLED = ("open", "cancelling")


class Order(db.Model):  # type: ignore[name-defined, misc]
    """An order: ``open``, ``cancelling`` (a cancellation is under way, ``cancelled_by`` names it), ``fulfilled`` or
    ``cancelled``."""

    __tablename__ = "orders"

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    user_id: Mapped[int]
    status: Mapped[str] = mapped_column(Text, server_default="open")
    cancelled_by: Mapped[uuid.UUID | None]
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    lines: Mapped[list[OrderLine]] = relationship(order_by="OrderLine.position", lazy="selectin")

    __table_args__ = (Index("orders_user", "user_id", "id"), Index("orders_status", "status", "id"))

    @property
    def total(self) -> int:
        """What the order costs, in minor units."""
        return sum(line.quantity * line.unit_price for line in self.lines)

    def as_values(self) -> dict[str, Any]:
        """The order in plain values, as a transaction's result keeps it."""
        lines = [
            {"product_id": line.product_id, "quantity": line.quantity, "unit_price": line.unit_price}
            for line in self.lines
        ]
        return {
            "id": self.id,
            "user_id": self.user_id,
            "status": self.status,
            "total": self.total,
            "created_at": self.created_at.isoformat(),
            "lines": lines,
        }


class OrderLine(db.Model):  # type: ignore[name-defined, misc]
    """One product of an order; ``unit_price`` in minor units, captured when the order was placed."""

    __tablename__ = "order_lines"

    order_id: Mapped[int] = mapped_column(ForeignKey("orders.id"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    product_id: Mapped[int]
    quantity: Mapped[int]
    unit_price: Mapped[int]


def quantities_of(orders: Iterable[Order]) -> list[list[int]]:
    """What the orders hold: pairs of product id and quantity, each product once, in product order."""
    held: Counter[int] = Counter()
    for order in orders:
        for line in order.lines:
            held[line.product_id] += line.quantity
    return in_product_order(held)


def in_product_order(held: Mapping[int, int]) -> list[list[int]]:
    """Pairs of product id and quantity, as they travel in a transaction's values."""
    return [[product_id, quantity] for product_id, quantity in sorted(held.items())]
