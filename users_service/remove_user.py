"""Remove a user: users + orders + products, all or nothing.

begin   mark the user ``removing``, so that no new order of theirs is accepted from now on
orders  cancel the user's open orders
products put what they held back in stock; refuses where the warehouse is full
commit  delete the user
abort   make the user active again
"""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from sqlalchemy import ARRAY, Integer, Uuid, bindparam, column, delete, func, select, update
from sqlalchemy.orm import Session

from atomic_commit import Missing, Refused, TransactionKind, Values
from celery_config.tasks import ORDERS_CANCEL_USER_ORDERS, PRODUCTS_RESTOCK
from users_service import turnstile
from users_service.models import User


def begin(session: Session, transaction: UUID, arguments: Values) -> Values:
    user_id = arguments["user_id"]
    turnstile.shut(session, [user_id])
    if not _mark(session, user_id, transaction):
        _refuse_unless_active(session, user_id)
        _mark(session, user_id, transaction)  # it has become active in the meantime, and the row is ours now
    return {"user_id": user_id}


def begin_batch(session: Session, removals: Mapping[UUID, Values]) -> dict[UUID, Values]:
    users = [arguments["user_id"] for arguments in removals.values()]
    turnstile.shut(session, users)
    marked = session.execute(_MARK_ALL, {"users": users, "transactions": list(removals)}).all()
    if len(marked) != len(removals):
        raise Refused("not_all", "Not all of these users can be removed.")
    return {transaction: {"user_id": arguments["user_id"]} for transaction, arguments in removals.items()}


def _mark(session: Session, user_id: int, transaction: UUID) -> bool:
    return session.execute(_MARK, {"user": user_id, "transaction": transaction}).first() is not None


def _refuse_unless_active(session: Session, user_id: int) -> None:
    user = session.scalar(select(User).where(User.id == user_id).with_for_update())
    if user is None:
        raise Missing("unknown_user", f"There is no user {user_id}.")
    if user.status != "active":
        raise Refused(
            "user_is_being_removed",
            f"User {user_id} is already being removed.",
            transaction=str(user.removed_by),
        )


def commit(session: Session, transaction: UUID, values: Values) -> None:
    commit_batch(session, {transaction: values})


def commit_batch(session: Session, removals: Mapping[UUID, Values]) -> dict[UUID, None]:
    users = [values["user_id"] for values in removals.values()]
    session.execute(_REMOVE, {"users": users, "transactions": list(removals)})
    return dict.fromkeys(removals)


def abort(session: Session, transaction: UUID, values: Values) -> None:
    session.execute(
        update(User)
        .where(User.id == values["user_id"], User.removed_by == transaction)
        .values(status="active", removed_by=None)
    )


#: Made once: to put a statement together costs more than to send it.
_table = User.__table__
_MARK = (
    update(_table)
    .where(_table.c.id == bindparam("user"), _table.c.status == "active")
    .values(status="removing", removed_by=bindparam("transaction"))
    .returning(_table.c.id)
)
_marks = (
    func.unnest(bindparam("users", type_=ARRAY(Integer)), bindparam("transactions", type_=ARRAY(Uuid)))
    .table_valued(column("user_id", Integer), column("transaction", Uuid), name="marks")
    .render_derived()
)
_MARK_ALL = (
    update(_table)
    .where(_table.c.id == _marks.c.user_id, _table.c.status == "active")
    .values(status="removing", removed_by=_marks.c.transaction)
    .returning(_table.c.id)
)
_REMOVE = delete(_table).where(_table.c.id == _marks.c.user_id, _table.c.removed_by == _marks.c.transaction)

remove_user = TransactionKind(
    name="remove_user",
    begin=begin,
    begin_batch=begin_batch,
    branches=(ORDERS_CANCEL_USER_ORDERS, PRODUCTS_RESTOCK),
    commit=commit,
    commit_batch=commit_batch,
    abort=abort,
)
