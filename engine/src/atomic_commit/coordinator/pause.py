"""Pause: a service accepts no transaction until it is resumed.

The flag is a row that a begin reads in the statement by which it accepts, so to be paused costs nobody a round trip.
That nothing is accepted any more once ``set`` has returned takes three steps, in this order:

1. a begin takes a lock in shared mode, and keeps it until its local transaction ends; only then, in a statement of its
   own with a snapshot of its own, it reads the flag and accepts;
2. ``set`` commits the flag;
3. ``set`` takes the same lock exclusively, and lets it go.

A begin that had the lock before step 3 is over when ``set`` returns, whatever became of it. One that got it afterwards
reads the flag with a snapshot that is younger than the commit of step 2: it accepts nothing. (With lock and flag in one
statement its snapshot could be older than both.)

What was accepted before goes on: it is decided, settled and recovered, and a repeated request with its idempotency key
joins it. What one service does by itself goes on as well.
"""

from __future__ import annotations

import logging

from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from atomic_commit import journal
from atomic_commit.errors import Conflict
from atomic_commit.postgres.database import translated_errors

log = logging.getLogger(__name__)

#: How long it waits for those who were accepting: for their commit, which may wait for a standby.
_WAITS = text("SET LOCAL lock_timeout = '3s'")


class Pausing:
    """The pause of one service, on its database (`engine`)."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def set(self, because: str | None) -> None:
        """Accept nothing from now on. May be said again, also with another reason.

        Raises Conflict where it can't be known yet that nobody who began before is still accepted: ask again.
        """
        with translated_errors(), Session(self._engine) as session, session.begin():
            journal.pause(session, because)
        log.warning("paused: no transaction is accepted until somebody resumes: %s", because or "no reason given")
        try:
            with translated_errors(), Session(self._engine) as session, session.begin():
                session.execute(_WAITS)
                journal.wait_for_who_accepts(session)
        except Conflict as error:
            raise Conflict("paused, but who began before may still be accepted: ask again") from error

    def clear(self) -> None:
        """Accept transactions again."""
        with translated_errors(), Session(self._engine) as session, session.begin():
            journal.resume(session)
        log.warning("resumed: transactions are accepted again")
