"""A coordinator is held for a moment: nothing is accepted, no attempt formed, nothing decided, no answer recorded.

Whoever does any of that takes a lock in shared mode first (``journal.holding``). Who holds them takes the locks
exclusively, in a local transaction that does little else. What comes meanwhile waits in the database for its
``lock_timeout``. After that it is a conflict, as with any lock: a request is told to come again, everything else is
taken up by recovery, and nothing is lost.

However the hold ends, it ends: with the local transaction, with the connection if the process dies, and by the server's
own clock if the process or the network hangs.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from atomic_commit import journal
from atomic_commit.postgres.database import translated_errors

#: Seconds for which it waits for those who are at it, for each of two locks; who comes meanwhile waits as well.
_WAITS = 0.5
#: Seconds after which the server ends the hold of somebody who says nothing. Two such pauses and the waits are the five
#: seconds for which decisions can be held at the very longest.
_SILENT = 2.0
_BOUNDS = text(
    # The hold is over when its commit is made, and not only when that is on disk.
    "SET LOCAL synchronous_commit = off;"
    f" SET LOCAL lock_timeout = {round(_WAITS * 1000)};"
    f" SET LOCAL idle_in_transaction_session_timeout = {round(_SILENT * 1000)}"
)


class Hold:
    """``session``: its local transaction, for a statement or two. ``seconds``: how long decisions were held, once the
    hold is over."""

    def __init__(self, session: Session) -> None:
        self.session, self.seconds = session, 0.0


@contextmanager
def decisions_held(engine: Engine) -> Iterator[Hold]:
    """Inside the block nobody accepts, forms an attempt, decides or records an answer in this database.

    That it leaves the block without an exception is the proof that it was so until then: the locks end with the local
    transaction, which is committed (and may not be flushed yet). Raises Conflict where those who are at it do not end
    in time, Lost where the hold has ended by itself.
    """
    with translated_errors(), Session(engine) as session:
        session.execute(_BOUNDS)
        hold, began = Hold(session), time.monotonic()
        journal.hold(session)
        yield hold
        session.commit()
        hold.seconds = time.monotonic() - began
