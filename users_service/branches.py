"""What the users service does in transactions that other services start."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from sqlalchemy import ARRAY, Integer, Row, bindparam, func, select
from sqlalchemy.orm import Session

from atomic_commit import Branches, Refused
from users_service.models import User

branches = Branches("users")


@branches.branch
def hold_active_user(session: Session, user_id: int) -> None:
    """Make sure that the user exists and is active, and that this stays so until the outcome.

    The share lock is kept by the prepared transaction: a removal, which must write the row, waits for it, while other
    orders of the same user share it.
    """
    hold_active_users(session, [user_id])


@branches.together(hold_active_user)
def hold_active_users(session: Session, user_id: list[int]) -> list[None]:
    users = {user.id: user for user in _shared(session, user_id)}
    for wanted in user_id:
        user = users.get(wanted)
        if user is None:
            raise Refused("unknown_user", f"There is no user {wanted}.", "user_id")
        if user.status != "active":
            raise Refused("user_is_being_removed", f"User {wanted} is being removed.", "user_id", str(user.removed_by))
    return [None] * len(user_id)


@branches.locks(hold_active_user)
def lock_users(session: Session, user_id: list[int]) -> None:
    _shared(session, user_id)


#: Made once: to put a statement together costs more than to send it.
_table = User.__table__
_LOCK = (
    select(_table.c.id, _table.c.status, _table.c.removed_by)
    .where(_table.c.id == func.any(bindparam("ids", type_=ARRAY(Integer))))
    .order_by(_table.c.id)
    .with_for_update(read=True)
)


def _shared(session: Session, ids: Iterable[int]) -> list[Row[tuple[int, str, UUID | None]]]:
    """The users, share-locked in primary-key order."""
    return list(session.execute(_LOCK, {"ids": sorted(set(ids))}))
