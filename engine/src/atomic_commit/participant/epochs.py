"""In which epoch this service's database takes a coordinator's commits (fencing by the receiver, as with the epochs of
Zab and the views of viewstamped replication: Oki & Liskov, "Viewstamped Replication", PODC 1988).

Messages can be newer than a database: those that a broker has kept while databases were restored, or that waited while
one of them failed over. A commit of the life before may be one that its coordinator has forgotten, and will decide
otherwise. So a commit names the epoch that its sender knows, and counts in that one alone. A new epoch begins

- where this database has come back older: whatever was sent before that is void;
- where the coordinator's has: it says so when it asks, and what is testified then is a promise that nothing which its
  life before has sent will be done any more.

A coordinator whose commit is void is told the epoch, reads its journal, as it is now, and sends again what that says.
A rollback needs none of this: of an attempt that was once given up nothing is ever committed.
"""

from __future__ import annotations

from sqlalchemy import Connection, text

_EPOCH = text(
    "SELECT nullif(concat_ws('/', extract(epoch FROM forked_at),"
    " (SELECT extract(epoch FROM met_at) FROM coordinator_lives WHERE coordinator = :coordinator)), '')"
    " FROM database_identity"
)
_MEET = text(
    "INSERT INTO coordinator_lives AS known (coordinator, life) VALUES (:coordinator, :life)"
    " ON CONFLICT (coordinator) DO UPDATE SET life = excluded.life, met_at = clock_timestamp()"
    " WHERE known.life <> excluded.life"
)

#: What a branch is told while a coordinator on the same database does not know yet what it had decided.
NOT_KNOWN_YET = "this database has come back older, and what it had decided is being found out"


def epoch(connection: Connection, coordinator: str) -> str | None:
    """The epoch in which commits of this coordinator count now. None, the first one: neither its database nor this one
    has ever come back older."""
    found: str | None = connection.execute(_EPOCH, {"coordinator": coordinator}).scalar()
    return found


def meet(connection: Connection, coordinator: str, life: str) -> None:
    """The coordinator's database is in this life: if that is another one than before, a new epoch begins.

    `connection` is in autocommit, so that it holds at once, and for whatever is read after it.
    """
    connection.execute(_MEET, {"coordinator": coordinator, "life": life})
