"""Several requests at once, with the statements of one: what ``branches`` does for each."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import ARRAY, Integer, bindparam, func, select
from sqlalchemy.orm import Session

from atomic_commit import Refused
from users_service import refusals, turnstile
from users_service.models import User


def hold_active_users(session: Session, user_id: list[int]) -> list[Refused | None]:
    held = _shared(session, user_id)
    if not (missing := sorted({*user_id} - held)):
        return [None] * len(user_id)
    others = {user.id: user for user in session.execute(_LOOK, {"ids": missing})}
    return [None if user in held else refusals.of_order(user, others.get(user)) for user in user_id]


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
