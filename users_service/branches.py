"""What the users service does in transactions that other services start."""

from __future__ import annotations

from sqlalchemy import select
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
    user = session.scalar(select(User).where(User.id == user_id).with_for_update(read=True))
    if user is None:
        raise Refused("unknown_user", f"There is no user {user_id}.", "user_id")
    if user.status != "active":
        raise Refused("user_is_being_removed", f"User {user_id} is being removed.", "user_id", str(user.removed_by))
