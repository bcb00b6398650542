"""Several removals at once, with the statements of one: what ``remove_user`` begins and commits for each."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from sqlalchemy import ARRAY, Integer, Uuid, bindparam, column, delete, func, update
from sqlalchemy.orm import Session

from atomic_commit import Refused, Values
from users_service import turnstile
from users_service.models import User


def begin(session: Session, removals: Mapping[UUID, Values]) -> dict[UUID, Values]:
    users = [arguments["user_id"] for arguments in removals.values()]
    turnstile.shut(session, users)
    marked = session.execute(_MARK, {"users": users, "transactions": list(removals)}).all()
    if len(marked) != len(removals):
        raise Refused("not_all", "Not all of these users can be removed.")  # each learns by itself whose it is
    return {transaction: {"user_id": arguments["user_id"]} for transaction, arguments in removals.items()}


def commit(session: Session, removals: Mapping[UUID, Values]) -> dict[UUID, None]:
    users = [values["user_id"] for values in removals.values()]
    session.execute(_REMOVE, {"users": users, "transactions": list(removals)})
    return dict.fromkeys(removals)


#: Made once: to put a statement together costs more than to send it.
_table = User.__table__
_marks = (
    func.unnest(bindparam("users", type_=ARRAY(Integer)), bindparam("transactions", type_=ARRAY(Uuid)))
    .table_valued(column("user_id", Integer), column("transaction", Uuid), name="marks")
    .render_derived()
)
_MARK = (
    update(_table)
    .where(_table.c.id == _marks.c.user_id, _table.c.status == "active")
    .values(status="removing", removed_by=_marks.c.transaction)
    .returning(_table.c.id)
)
_REMOVE = delete(_table).where(_table.c.id == _marks.c.user_id, _table.c.removed_by == _marks.c.transaction)
