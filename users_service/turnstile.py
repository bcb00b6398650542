"""Who has to write a user's row is not overtaken for ever by those who share it.

PostgreSQL gives a share lock beside other share locks even while somebody waits to write the row
(src/backend/access/heap/README.tuplock). Orders of one user that come without a pause, each held a little by a prepared
transaction, would so keep a removal of that user away for as long as they come. Hence a turnstile before the row (A. B.
Downey, The Little Book of Semaphores, 4.2.3): who shares passes it, who writes keeps it shut until the write is over;
advisory locks are granted in the order in which they are asked for. So a writer waits for those who were there before
it, and for nobody else.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import text
from sqlalchemy.orm import Session

#: This use of advisory locks among others in the database.
_CLASS = 7219403
#: No user has a greater number, and no advisory lock of two numbers.
_GREATEST = 2**31 - 1

#: Locked and let go row by row, in one statement: nothing is kept, and an error on the way leaves nothing behind. (A
#: lock of the session, because one of the transaction would stay with the prepared transaction.)
_PASS = text(
    f"SELECT pg_advisory_unlock_shared({_CLASS}, id) FROM (SELECT id, pg_advisory_lock_shared({_CLASS}, id)"
    " FROM unnest(CAST(:ids AS integer[])) AS id OFFSET 0) AS passing"
)
_SHUT = text(f"SELECT pg_advisory_xact_lock({_CLASS}, id) FROM unnest(CAST(:ids AS integer[])) AS id")


def pass_through(session: Session, ids: Iterable[int]) -> None:
    """Before these users' rows are shared: wait until nobody is about to write one of them. Once for each of them in a
    session: who shares a row already may be what the writer waits for, and does not wait for the writer."""
    passed: set[int] = session.info.setdefault(__name__, set())
    if new := {*ids} - passed:
        session.execute(_PASS, {"ids": sorted(new)})
        passed |= new


def shut(session: Session, ids: Iterable[int]) -> None:
    """Before these users' rows are written: until the transaction is over nobody else passes."""
    session.execute(_SHUT, {"ids": sorted(id for id in set(ids) if id <= _GREATEST)})
