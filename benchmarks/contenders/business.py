"""What removing a user means, without a protocol: the shop's own business functions, so that every contender issues the
same statements for it."""

from __future__ import annotations

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from orders_service.branches import cancel_user_orders
from orders_service.models import Order
from products_service.branches import restock, take_stock
from users_service.models import User

__all__ = [
    "cancel_user_orders",
    "delete_user",
    "hold_user",
    "mark_user",
    "open_orders_of",
    "reopen_orders",
    "restock",
    "take_back",
    "unmark_user",
]


def hold_user(session: Session, user_id: int) -> None:
    """Lock the user until the end of the local transaction."""
    _active(session, user_id)


def mark_user(session: Session, user_id: int) -> None:
    """From here on no new order of the user is accepted."""
    _active(session, user_id).status = "removing"


def _active(session: Session, user_id: int) -> User:
    user = session.scalar(select(User).where(User.id == user_id).with_for_update())
    if user is None or user.status != "active":
        raise LookupError(f"user {user_id} can't be removed")
    return user


def delete_user(session: Session, user_id: int) -> None:
    session.execute(delete(User).where(User.id == user_id))


# ---- what a saga needs to take back what is committed already


def unmark_user(session: Session, user_id: int) -> None:
    session.execute(update(User).where(User.id == user_id, User.status == "removing").values(status="active"))


def open_orders_of(session: Session, user_id: int) -> list[int]:
    return list(session.scalars(select(Order.id).where(Order.user_id == user_id, Order.status == "open")))


def reopen_orders(session: Session, orders: list[int]) -> None:
    session.execute(update(Order).where(Order.id.in_(orders)).values(status="open"))


def take_back(session: Session, quantities: list[list[int]]) -> None:
    """The opposite of restocking."""
    take_stock(session, [{"product_id": product, "quantity": quantity} for product, quantity in quantities])
