"""Remove a user: users + orders + products, all or nothing.

begin    mark the user ``removing``, so that no new order of theirs is accepted from now on
orders   cancel the user's open orders
products put what they held back in stock; refuses where the warehouse is full
commit   delete the user
abort    make the user active again
"""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from atomic_commit import Missing, Refused, TransactionKind, Values
from celery_config.tasks import ORDERS_CANCEL_USER_ORDERS, PRODUCTS_RESTOCK
from users_service import remove_user_batch, turnstile
from users_service.models import User


def begin(session: Session, transaction: UUID, arguments: Values) -> Values:
    user_id = arguments["user_id"]
    turnstile.shut(session, [user_id])
    user = session.scalar(select(User).where(User.id == user_id).with_for_update())
    if user is None:
        raise Missing("unknown_user", f"There is no user {user_id}.")
    if user.status != "active":
        raise Refused(
            "user_is_being_removed",
            f"User {user_id} is already being removed.",
            transaction=str(user.removed_by),
        )
    user.status, user.removed_by = "removing", transaction
    return {"user_id": user_id}


def commit(session: Session, transaction: UUID, values: Values) -> None:
    session.execute(delete(User).where(User.id == values["user_id"], User.removed_by == transaction))


def abort(session: Session, transaction: UUID, values: Values) -> None:
    session.execute(
        update(User)
        .where(User.id == values["user_id"], User.removed_by == transaction)
        .values(status="active", removed_by=None)
    )


remove_user = TransactionKind(
    name="remove_user",
    branches=(ORDERS_CANCEL_USER_ORDERS, PRODUCTS_RESTOCK),
    begin=begin,
    commit=commit,
    abort=abort,
    # The same for several at once: nothing here depends on them.
    begin_batch=remove_user_batch.begin,
    commit_batch=remove_user_batch.commit,
)
