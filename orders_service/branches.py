"""What the orders service does in transactions that other services start."""

from __future__ import annotations

from sqlalchemy import ARRAY, Integer, bindparam, func, select, update
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
    orders = session.execute(_UNFULFILLED, {"user_id": user_id}).all()
    for order in orders:
        if order.status == "cancelling":
            raise Conflict(f"order {order.id} is being cancelled")
    if not orders:
        return {"quantities": []}
    ids = [order.id for order in orders]
    session.execute(_CANCEL, {"ids": ids})
    held = session.execute(_HELD, {"ids": ids}).all()
    return {"quantities": in_product_order(dict(held))}


_orders, _lines = Order.__table__, OrderLine.__table__
_ids = bindparam("ids", type_=ARRAY(Integer))
#: Made once: to put a statement together costs more than to send it.
_UNFULFILLED = (
    select(_orders.c.id, _orders.c.status)
    .where(_orders.c.user_id == bindparam("user_id"), _orders.c.status.in_(UNFULFILLED))
    .order_by(_orders.c.id)
    .with_for_update()
)
_CANCEL = update(_orders).where(_orders.c.id == func.any(_ids)).values(status="cancelled")
_HELD = (
    select(_lines.c.product_id, func.sum(_lines.c.quantity))
    .where(_lines.c.order_id == func.any(_ids))
    .group_by(_lines.c.product_id)
)

# The same for several at once: nothing above depends on it.
branches.batch(cancel_user_orders)(branches_batch.cancel_orders_of_users)
branches.locks(cancel_user_orders)(branches_batch.lock_orders)
