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
from orders_service import place_order_batch
from orders_service.models import Order, OrderLine


def begin(session: Session, transaction: UUID, arguments: Values) -> Values:
    return {"user_id": arguments["user_id"], "lines": arguments["lines"]}


def commit(session: Session, transaction: UUID, values: Values) -> Values:
    lines = [
        OrderLine(position=position, **line, unit_price=price)
        for position, (line, price) in enumerate(zip(values["lines"], values["prices"], strict=True))
    ]
    order = Order(user_id=values["user_id"], status="open", lines=lines)
    session.add(order)
    session.flush()
    return {"order": order.as_values()}


place_order = TransactionKind(
    name="place_order",
    branches=(USERS_HOLD_ACTIVE_USER, PRODUCTS_TAKE_STOCK),
    begin=begin,
    commit=commit,
    # The same for several at once: nothing here depends on them.
    begin_batch=place_order_batch.begin,
    commit_batch=place_order_batch.commit,
)
