"""What the users service does in transactions that other services start."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from atomic_commit import Branches
from users_service import branches_batch, refusals, turnstile
from users_service.models import User

branches = Branches("users")


@branches.hold
def hold_active_user(session: Session, user_id: int) -> None:
    """Make sure that the user exists and is active, and that this stays so until the outcome.

    The share lock is kept by the prepared transaction: a removal, which must write the row, waits for it, while other
    orders of the same user share it. A user who is being removed is not locked: that would hold up the removal for
    somebody who is refused.
    """
    turnstile.pass_through(session, [user_id])
    active = select(User.id).where(User.id == user_id, User.status == "active")
    if session.scalar(active.with_for_update(read=True)) is None:
        user = session.execute(select(User.id, User.status, User.removed_by).where(User.id == user_id)).first()
        raise refusals.of_order(user_id, user)


# The same for several at once: nothing above depends on it.
branches.batch(hold_active_user)(branches_batch.hold_active_users)
branches.locks(hold_active_user)(branches_batch.lock_users)
