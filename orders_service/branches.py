"""What the orders service does in transactions that other services start."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from atomic_commit import Branches, Conflict, Values
from orders_service.models import Order, quantities_of

branches = Branches("orders")


@branches.branch
def cancel_user_orders(session: Session, user_id: int) -> Values:
    """Cancel the user's open orders. Returns what they held, for the warehouse.

    An order that is ``cancelling`` belongs to a cancellation that may yet be undone, so it can be neither skipped nor
    cancelled twice: it is a conflict, and the removal tries again later. Fulfilled orders stay as history.
    """
    orders = session.scalars(_unfulfilled([user_id])).all()
    for order in orders:
        if order.status == "cancelling":
            raise Conflict(f"order {order.id} is being cancelled")
        order.status = "cancelled"
    return {"quantities": quantities_of(orders)}


@branches.locks(cancel_user_orders)
def lock_orders(session: Session, user_id: list[int]) -> None:
    session.execute(_unfulfilled(user_id))


def _unfulfilled(user_ids: Iterable[int]) -> Select[tuple[Order]]:
    """What these users have ordered and not yet got, locked in primary-key order."""
    waiting = Order.user_id.in_(sorted(set(user_ids))), Order.status.in_(("open", "cancelling"))
    return select(Order).where(*waiting).order_by(Order.id).with_for_update()
