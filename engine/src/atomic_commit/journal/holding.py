"""Two locks of each coordinator, by which those who move its transactions on can be waited for, and held.

Whoever does takes one of them in shared mode (an advisory lock, held until its local transaction ends), in a statement
that it sends anyway, and meets nobody. Whoever takes the same lock exclusively has waited for all who were at it, and
holds whoever comes, until its own local transaction ends.

``accepting``  a transaction is accepted. Taken late: rows of the business are locked by then.
``moving on``  one that was accepted is moved on: an attempt is formed or decided about, or an answer recorded. Taken
               before any row, so that nobody who waits for this lock has a row that another one waits for.

Who holds both takes *moving on* first: those who move on may still wait for a row of somebody who accepts.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import func
from sqlalchemy.orm import Session

#: The first half of the advisory locks; the second says which.
_LOCKS = 7_219_403
_ACCEPTING, _MOVING_ON = 1, 2

_SHARED = f"SELECT pg_advisory_xact_lock_shared({_LOCKS}, {{}});"
_EXCLUSIVE = f"SELECT pg_advisory_xact_lock({_LOCKS}, {{}});"

#: SQL before the statement that accepts. A statement of its own, because each sees what was committed before it began:
#: the one that accepts has to see what was committed before the lock was had.
ACCEPTS = _SHARED.format(_ACCEPTING)
#: SQL before the first statement of who moves on.
MOVES_ON = _SHARED.format(_MOVING_ON)
#: The same as a condition of that statement: always true, and known before the first row is looked at.
MAY_MOVE_ON = (
    sa.select(func.pg_advisory_xact_lock_shared(sa.text(str(_LOCKS)), sa.text(str(_MOVING_ON))))
    .scalar_subquery()
    .is_not(None)
)

_WAIT_FOR_WHO_ACCEPTS = sa.text(_EXCLUSIVE.format(_ACCEPTING))
_HOLD = sa.text(_EXCLUSIVE.format(_MOVING_ON) + _EXCLUSIVE.format(_ACCEPTING))


def wait_for_who_accepts(session: Session) -> None:
    """Return when everybody who was accepting a transaction has ended; who comes meanwhile waits until the session's
    transaction ends. Raises the database's lock time-out."""
    session.execute(_WAIT_FOR_WHO_ACCEPTS)


def hold(session: Session) -> None:
    """Return when everybody who was accepting a transaction or moving one on has ended; who comes meanwhile waits until
    the session's transaction ends. Raises the database's lock time-out."""
    session.execute(_HOLD)
