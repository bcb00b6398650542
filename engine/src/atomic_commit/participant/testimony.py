"""What this service's database knows of a transaction, for a coordinator that may have forgotten it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, Engine, text

from atomic_commit.names import Installation
from atomic_commit.participant.epochs import epoch, meet
from atomic_commit.participant.in_doubt import in_doubt
from atomic_commit.postgres.database import autocommit, translated_errors
from atomic_commit.wire.hand_over import Found

#: By the key where the transaction led the attempt; else by the members of what was done since it was accepted.
_ROWS = text(
    "SELECT transaction_id, attempt, branch, kind, members FROM branch_rows WHERE transaction_id = :transaction"
    " UNION ALL"
    " SELECT transaction_id, attempt, branch, kind, members FROM branch_rows"
    " WHERE transaction_id <> :transaction AND created_at >= :since AND members ? CAST(:transaction AS text)"
)


class Testimony:
    """What one participant (`engine`, of this installation) can testify."""

    def __init__(self, engine: Engine, installation: Installation) -> None:
        self._reads, self._installation = autocommit(engine), installation

    def to(self, coordinator: str, life: str | None) -> str | None:
        """Promise a coordinator, before anything is testified, that nothing is done of what its database has sent in
        other lives than this one (None: it has never come back older). Returns the epoch in which commits count."""
        with translated_errors(), self._reads.connect() as connection:
            if life is not None:
                meet(connection, coordinator, life)
            return epoch(connection, coordinator)

    def about(self, transaction: UUID, attempt: int, since: datetime) -> list[Found]:
        """Every branch of the transaction that is prepared, done or fenced here, of all attempts at it, also of those
        that others led; or, where `attempt` is not 0, of that attempt alone. `since`: nothing of it is older.

        What is prepared is looked for first: it may be done a moment later, but what is done is not undone.
        """
        with translated_errors(), self._reads.connect() as connection:
            prepared = list(self._prepared(connection, transaction))
            rows = connection.execute(_ROWS, {"transaction": transaction, "since": since}).all()
        found = [
            *prepared,
            *(
                Found(transaction=str(row[0]), attempt=row[1], branch=row[2], state=row[3], members=row[4])
                for row in rows
            ),
        ]
        return [
            one for one in found if not attempt or (one["transaction"], one["attempt"]) == (str(transaction), attempt)
        ]

    def _prepared(self, connection: Connection, transaction: UUID) -> Iterator[Found]:
        for one in in_doubt(connection, self._installation):
            if one.gid and one.gid.transaction == transaction:
                yield Found(
                    transaction=str(transaction),
                    attempt=one.gid.attempt,
                    branch=one.gid.branch,
                    state="prepared",
                    members=None,
                )
