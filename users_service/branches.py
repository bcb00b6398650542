"""What the users service does in transactions that other services start."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from sqlalchemy import ARRAY, Integer, Row, bindparam, func, select
from sqlalchemy.orm import Session

from atomic_commit import Branches, Conflict, Refused, only_answer
from users_service import turnstile
from users_service.models import User

branches = Branches("users")


@branches.hold
def hold_active_user(session: Session, user_id: int) -> None:
    """Make sure that the user exists and is active, and that this stays so until the outcome.

    The share lock is kept by the prepared transaction: a removal, which must write the row, waits for it, while other
    orders of the same user share it. A user who is being removed is not locked: that would hold up the removal for
    somebody who is refused.
    """
    only_answer(hold_active_users(session, [user_id]))


@branches.batch(hold_active_user)
def hold_active_users(session: Session, user_id: list[int]) -> list[Refused | None]:
    held = _shared(session, user_id)
    if not (missing := sorted({*user_id} - held)):
        return [None] * len(user_id)
    others = {user.id: user for user in session.execute(_LOOK, {"ids": missing})}
    return [None if user in held else _refused(user, others.get(user)) for user in user_id]


def _refused(wanted: int, user: Row[tuple[int, str, UUID | None]] | None) -> Refused:
    if user is None:
        return Refused("unknown_user", f"There is no user {wanted}.", "user_id")
    if user.status == "active":
        raise Conflict(f"user {wanted} has become active a moment ago")
    return Refused("user_is_being_removed", f"User {wanted} is being removed.", "user_id", str(user.removed_by))


@branches.locks(hold_active_user)
def lock_users(session: Session, user_id: list[int]) -> None:
    _shared(session, user_id)


#: Made once: to put a statement together costs more than to send it.
_table = User.__table__
_is_wanted = _table.c.id == func.any(bindparam("ids", type_=ARRAY(Integer)))
_LOCK = (
    select(_table.c.id).where(_is_wanted, _table.c.status == "active").order_by(_table.c.id).with_for_update(read=True)
)
_LOOK = select(_table.c.id, _table.c.status, _table.c.removed_by).where(_is_wanted)


def _shared(session: Session, ids: Iterable[int]) -> set[int]:
    """The active ones of these users, share-locked in primary-key order."""
    wanted = sorted(set(ids))
    turnstile.pass_through(session, wanted)
    return set(session.scalars(_LOCK, {"ids": wanted}))
