"""What the orders service does in transactions that other services start."""

from __future__ import annotations

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from atomic_commit import Branches, Conflict, Values
from orders_service import branches_batch
from orders_service.models import UNFULFILLED, Order, OrderLine, in_product_order

branches = Branches("orders")


# Safe to redo: the user has gone, so that whatever order is open again can only be one that was cancelled then, or
# should have been. What they held the products service has put back already, by what was recorded.
@branches.branch(safe_to_redo=True)
def cancel_user_orders(session: Session, user_id: int) -> Values:
    """Cancel the user's open orders. Returns what they held, for the warehouse.

    An order that is ``cancelling`` belongs to a cancellation that may yet be undone, so it can be neither skipped nor
    cancelled twice: it is a conflict, and the removal tries again later. Fulfilled orders stay as history.
    """
    of_user = select(Order.id, Order.status).where(Order.user_id == user_id, Order.status.in_(UNFULFILLED))
    orders = session.execute(of_user.order_by(Order.id).with_for_update()).all()
    for order in orders:
        if order.status == "cancelling":
            raise Conflict(f"order {order.id} is being cancelled")
    if not orders:
        return {"quantities": []}
    ids = [order.id for order in orders]
    session.execute(update(Order.__table__).where(Order.id.in_(ids)).values(status="cancelled"))
    lines = select(OrderLine.product_id, func.sum(OrderLine.quantity)).where(OrderLine.order_id.in_(ids))
    held = session.execute(lines.group_by(OrderLine.product_id)).all()
    return {"quantities": in_product_order(dict(held))}


# The same for several at once: nothing above depends on it.
branches.batch(cancel_user_orders)(branches_batch.cancel_orders_of_users)
branches.locks(cancel_user_orders)(branches_batch.lock_orders)
