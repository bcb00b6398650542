"""Begin: the local transaction by which a transaction is accepted. From its commit on the request is never lost.

``begin_batch`` does the same for several that come at the same moment.
"""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from atomic_commit import journal
from atomic_commit.coordinator.lost_begin import was_accepted
from atomic_commit.declare import TransactionKind, Values
from atomic_commit.errors import Conflict, is_lost
from atomic_commit.journal.records import IdempotencyKey, TransactionRecord
from atomic_commit.limits import Limits
from atomic_commit.postgres.confirmed import Confirmation
from atomic_commit.postgres.database import translated_errors
from atomic_commit.testing.failpoints import reach
from atomic_commit.wire.messages import Messages


class Begin:
    """Where transactions of one kind begin, each by itself."""

    def __init__(self, engine: Engine, messages: Messages, kind: TransactionKind, limits: Limits) -> None:
        self.engine, self.kind, self.limits = engine, kind, limits
        self._messages, self._confirmation = messages, Confirmation(engine)

    def one(self, transaction: UUID, arguments: Values, key: IdempotencyKey | None) -> TransactionRecord:
        """Check, mark, and write the journal row, in one local transaction. See ``Coordinator.begin`` for what it
        raises, and IntegrityError where the idempotency key is taken."""
        with translated_errors(), Session(self.engine) as session:
            reach("begin.before_accept", session)
            values = self.kind.begin(session, transaction, arguments)
            record = journal.insert_transaction(
                session,
                transaction,
                self.kind.name,
                values,
                key,
                attempts_at_once=self.limits.attempts_at_once,
                task_ids=self._messages.task_ids(self.kind, transaction, 1),
                deadline=self.limits.deadline,
                patience=self.limits.patience_after(0),
                look_after=self.limits.look_after,
            )
            reach("begin.before_commit", session)
            certain = answered_commit(session)
        reach("begin.after_commit")
        return record if certain else self.known(record)

    def known(self, record: TransactionRecord) -> TransactionRecord:
        """The record of one whose commit was not answered, if it has happened. Raises Conflict if not, Lost where that
        can't be found out."""
        if was_accepted(self.engine, self._confirmation, record.id, self.kind.name):
            return record
        raise Conflict("the database went away before it was accepted")


def answered_commit(session: Session) -> bool:
    """Commit. False if that was not answered: whether it has happened has to be found out."""
    try:
        session.commit()
    except DBAPIError as error:
        if not is_lost(error):
            raise
        return False
    return True
