"""Local calls: what a service does by itself, in one transaction of its own database, once for an Idempotency-Key.

The key is claimed first, in the very transaction that does the work, and the answer is kept beside it: so there is a
row if and only if the work was done. Who sends the key again meanwhile waits for that transaction as for a row lock,
and then either reads its answer or, where it was rolled back, does the work. Refusals change nothing, so nothing of
them is kept: sent again, they are judged again.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from atomic_commit.errors import Conflict, KeyReused
from atomic_commit.journal.records import IdempotencyKey
from atomic_commit.journal.schema import local_calls as table
from atomic_commit.postgres.confirmed import Confirmation


class LocalCalls:
    """The local calls of one service."""

    def __init__(self, engine: Engine) -> None:
        self._confirmation = Confirmation(engine)

    def claim(self, session: Session, key: IdempotencyKey) -> dict[str, Any] | None:
        """None: the key is claimed by the session's transaction, which does the work and calls ``keep`` before it
        commits. Else the work was done before, and this was the answer.

        Raises KeyReused where it was another request's, the database's lock time-out while another transaction
        has claimed the key and not ended, and Lost where it is not known yet whether what was done stays.
        """
        own = {"caller": key.caller, "route": key.route, "key": key.key}
        claimed = insert(table).values(**own, fingerprint=key.fingerprint).on_conflict_do_nothing()
        if session.execute(claimed.returning(table.c.key)).first():
            return None
        before = session.execute(select(table.c.fingerprint, table.c.answer).filter_by(**own)).first()
        if before is None:
            raise Conflict("the Idempotency-Key has just become too old")
        if before.fingerprint != key.fingerprint:
            raise KeyReused("This Idempotency-Key was used before with another request.")
        self._confirmation.wait()  # a row that is there may be one whose commit was not confirmed
        answer: dict[str, Any] = before.answer
        return answer

    def keep(self, session: Session, key: IdempotencyKey, answer: dict[str, Any]) -> None:
        """Keep the answer (JSON) for who sends the key again."""
        own = {"caller": key.caller, "route": key.route, "key": key.key}
        session.execute(update(table).filter_by(**own).values(answer=answer))
