"""What the users service does in transactions that other services start."""

from __future__ import annotations

from sqlalchemy import bindparam, select
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
    if session.scalar(_HOLD, {"id": user_id}) is None:
        user = session.execute(_LOOK, {"id": user_id}).first()
        raise refusals.of_order(user_id, user)


_table = User.__table__
_is_wanted = _table.c.id == bindparam("id")
#: Made once: to put a statement together costs more than to send it.
_HOLD = select(_table.c.id).where(_is_wanted, _table.c.status == "active").with_for_update(read=True)
_LOOK = select(_table.c.id, _table.c.status, _table.c.removed_by).where(_is_wanted)

# The same for several at once: nothing above depends on it.
branches.batch(hold_active_user)(branches_batch.hold_active_users)
branches.locks(hold_active_user)(branches_batch.lock_users)
