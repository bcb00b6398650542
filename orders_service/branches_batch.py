"""Several requests at once, with the statements of one: what ``branches`` does for each."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

from sqlalchemy import ARRAY, Integer, Row, bindparam, func, select, update
from sqlalchemy.orm import Session

from atomic_commit import Conflict, Values
from orders_service.models import UNFULFILLED, Order, OrderLine, in_product_order


def cancel_orders_of_users(session: Session, user_id: list[int]) -> list[Values]:
    orders = _unfulfilled(session, user_id)
    for order in orders:
        if order.status == "cancelling":
            raise Conflict(f"order {order.id} is being cancelled")
    owners = {order.id: order.user_id for order in orders}
    held: dict[int, Counter[int]] = defaultdict(Counter)
    if owners:
        session.execute(_CANCEL, {"ids": list(owners)})
        for line in session.execute(_LINES, {"ids": list(owners)}):
            held[owners[line.order_id]][line.product_id] += line.quantity
    return [{"quantities": in_product_order(held.pop(user, {}))} for user in user_id]  # what one gets no other gets


def lock_orders(session: Session, user_id: list[int]) -> None:
    _unfulfilled(session, user_id)


_orders, _lines = Order.__table__, OrderLine.__table__
_ids = bindparam("ids", type_=ARRAY(Integer))
#: Made once: to put a statement together costs more than to send it.
_LOCK = (
    select(_orders.c.id, _orders.c.user_id, _orders.c.status)
    .where(
        _orders.c.user_id == func.any(bindparam("users", type_=ARRAY(Integer))),
        _orders.c.status.in_(UNFULFILLED),
    )
    .order_by(_orders.c.id)
    .with_for_update()
)
_CANCEL = update(_orders).where(_orders.c.id == func.any(_ids)).values(status="cancelled")
_LINES = select(_lines.c.order_id, _lines.c.product_id, _lines.c.quantity).where(_lines.c.order_id == func.any(_ids))


def _unfulfilled(session: Session, users: Iterable[int]) -> list[Row[tuple[int, int, str]]]:
    """What these users have ordered and not yet got, locked in primary-key order."""
    return list(session.execute(_LOCK, {"users": sorted(set(users))}))
