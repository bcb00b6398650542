"""Place an order: users + products + orders, all or nothing.

begin    nothing but the journal: the order does not exist before it is decided
users    hold the user active until the outcome
products take the quantities out of stock and capture the prices
commit   insert the order with its lines
"""

from __future__ import annotations

from uuid import UUID

from sqlalchemy.orm import Session

from atomic_commit import TransactionKind, Values
from celery_config.tasks import PRODUCTS_TAKE_STOCK, USERS_HOLD_ACTIVE_USER
from orders_service.models import Order, OrderLine
from orders_service.schemas import ORDER


def begin(session: Session, transaction: UUID, arguments: Values) -> Values:
    return {"user_id": arguments["user_id"], "lines": arguments["lines"]}


def commit(session: Session, transaction: UUID, values: Values) -> Values:
    order = Order(user_id=values["user_id"], status="open")
    order.lines = [
        OrderLine(position=position, product_id=line["product_id"], quantity=line["quantity"], unit_price=price)
        for position, (line, price) in enumerate(zip(values["lines"], values["prices"], strict=True))
    ]
    session.add(order)
    session.flush()
    session.refresh(order)
    return {"order": ORDER.dump(order)}


place_order = TransactionKind(
    name="place_order",
    begin=begin,
    branches=(USERS_HOLD_ACTIVE_USER, PRODUCTS_TAKE_STOCK),
    commit=commit,
)
