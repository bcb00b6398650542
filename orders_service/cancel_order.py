"""Cancel an order: orders + products, all or nothing.

begin    mark the order ``cancelling``
products put what it held back in stock; refuses where the warehouse is full
commit   the order is ``cancelled``
abort    the order is ``open`` again
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import Select, select, update
from sqlalchemy.orm import Session

from atomic_commit import Missing, Refused, TransactionKind, Values
from celery_config.tasks import PRODUCTS_RESTOCK
from orders_service.models import Order, quantities_of


def begin(session: Session, transaction: UUID, arguments: Values) -> Values:
    order_id = arguments["order_id"]
    order = session.scalar(select(Order).where(Order.id == order_id).with_for_update())
    if order is None:
        raise Missing("unknown_order", f"There is no order {order_id}.")
    if order.status == "cancelling":
        raise Refused(
            "order_is_being_cancelled",
            f"Order {order_id} is already being cancelled.",
            transaction=str(order.cancelled_by),
        )
    if order.status != "open":
        raise Refused(
            f"order_is_{order.status}", f"Order {order_id} is {order.status}; only an open one can be cancelled."
        )
    order.status, order.cancelled_by = "cancelling", transaction
    return {"order_id": order_id, "quantities": quantities_of([order])}


def commit(session: Session, transaction: UUID, values: Values) -> Values:
    order = session.scalars(_marked(transaction, values)).one()
    order.status = "cancelled"
    return {"order": order.as_values()}


def abort(session: Session, transaction: UUID, values: Values) -> None:
    session.execute(
        update(Order)
        .where(Order.id == values["order_id"], Order.cancelled_by == transaction)
        .values(status="open", cancelled_by=None)
    )


def _marked(transaction: UUID, values: Values) -> Select[Any]:
    return select(Order).where(Order.id == values["order_id"], Order.cancelled_by == transaction).with_for_update()


cancel_order = TransactionKind(
    name="cancel_order", begin=begin, branches=(PRODUCTS_RESTOCK,), commit=commit, abort=abort
)
