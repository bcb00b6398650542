"""Whether a begin whose commit was not answered has happened."""

from __future__ import annotations

import time
from uuid import UUID

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from atomic_commit import journal
from atomic_commit.errors import Lost
from atomic_commit.postgres.confirmed import Confirmation
from atomic_commit.postgres.database import translated_errors

#: Seconds for which it is asked. A server that is restarted is back by then.
_ASKED_FOR = 5.0
#: Seconds between two questions.
_ASKED_EVERY = 0.2


def was_accepted(engine: Engine, confirmation: Confirmation, transaction: UUID, kind: str) -> bool:
    """Whether it has happened.

    Reading would not tell: the server may still be at it. So the row's place is taken by a settled one: while the lost
    begin is under way that insertion waits for it, and once it has succeeded the begin can't happen any more. Raises
    Lost where the database stays away: then only the transaction's URL will tell.
    """
    end = time.monotonic() + _ASKED_FOR
    while True:
        try:
            with translated_errors(), Session(engine) as session, session.begin():
                taken = journal.take_place(session, transaction, kind)
            confirmation.wait()  # a row that is there may be one whose commit was not confirmed
            return not taken
        except Exception as again:  # whatever it is: nothing that is known may hide that this is not known
            if time.monotonic() >= end:
                raise Lost("the commit was not answered", transaction) from again
        time.sleep(_ASKED_EVERY)
