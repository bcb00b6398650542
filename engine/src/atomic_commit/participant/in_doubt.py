"""What stands prepared in a participant's database, for people. Nothing here resolves anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text

from atomic_commit.names import Gid, Installation

_PREPARED = text(
    "SELECT gid, prepared, owner, extract(epoch FROM clock_timestamp() - prepared) FROM pg_prepared_xacts"
    " WHERE database = current_database() ORDER BY prepared, gid"
)


@dataclass(frozen=True)
class InDoubt:
    """One prepared transaction."""

    #: its global identifier as PostgreSQL has it
    name: str
    #: the same, read; None where the transaction is not of this installation
    gid: Gid | None
    prepared_at: datetime
    #: seconds since then, by the database's clock
    age: float
    #: the PostgreSQL role that prepared it
    owner: str


def in_doubt(connection: Connection, installation: Installation) -> Sequence[InDoubt]:
    """Every prepared transaction of this database, the oldest first."""
    return [
        InDoubt(name, _ours(name, installation), prepared_at, float(age), owner)
        for name, prepared_at, owner, age in connection.execute(_PREPARED)
    ]


def _ours(name: str, installation: Installation) -> Gid | None:
    try:
        gid = Gid.parse(name)
    except ValueError:
        return None
    return gid if gid.installation == installation else None
