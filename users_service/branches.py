"""What the users service does in transactions that other services start."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Select, select
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
    user = session.scalar(_shared([user_id]))
    if user is None:
        raise Refused("unknown_user", f"There is no user {user_id}.", "user_id")
    if user.status != "active":
        raise Refused("user_is_being_removed", f"User {user_id} is being removed.", "user_id", str(user.removed_by))


@branches.locks(hold_active_user)
def lock_users(session: Session, user_id: list[int]) -> None:
    session.execute(_shared(user_id))


def _shared(ids: Iterable[int]) -> Select[tuple[User]]:
    """The users, share-locked in primary-key order."""
    return select(User).where(User.id.in_(sorted(set(ids)))).order_by(User.id).with_for_update(read=True)
