"""Several orders placed at once, with the statements of one: what ``place_order`` begins and commits for each."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from sqlalchemy import insert
from sqlalchemy.orm import Session

from atomic_commit import Values
from orders_service.models import Order, OrderLine


def begin(session: Session, placed: Mapping[UUID, Values]) -> dict[UUID, Values]:
    return {
        transaction: {"user_id": arguments["user_id"], "lines": arguments["lines"]}
        for transaction, arguments in placed.items()
    }


def commit(session: Session, placed: Mapping[UUID, Values]) -> dict[UUID, Values]:
    new = [{"user_id": values["user_id"], "status": "open"} for values in placed.values()]
    inserted = session.execute(_INSERT_ORDERS, new).all()
    lines = [_lines(row.id, values) for row, values in zip(inserted, placed.values(), strict=True)]
    session.execute(_INSERT_LINES, [line for of_one in lines for line in of_one])
    orders = [
        Order(id=row.id, created_at=row.created_at, **columns, lines=[OrderLine(**line) for line in of_one])
        for row, columns, of_one in zip(inserted, new, lines, strict=True)
    ]
    return {transaction: {"order": order.as_values()} for transaction, order in zip(placed, orders, strict=True)}


def _lines(order_id: int, values: Values) -> list[dict[str, int]]:
    return [
        {"order_id": order_id, "position": position, **line, "unit_price": price}
        for position, (line, price) in enumerate(zip(values["lines"], values["prices"], strict=True))
    ]


_table = Order.__table__
#: Made once: to put a statement together costs more than to send it.
_INSERT_ORDERS = insert(_table).returning(_table.c.id, _table.c.created_at, sort_by_parameter_order=True)
_INSERT_LINES = insert(OrderLine.__table__)
