"""Words for databases that come back older than they were."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from eager_shop import PROTOCOL_TABLES, TABLES, EagerShop

_SEQUENCES = "SELECT sequencename, last_value FROM pg_sequences WHERE schemaname = current_schema()"


@dataclass(frozen=True)
class Moment:
    """All that a service's database held at that moment: table → its rows as JSON; sequence → where it was."""

    service: str
    tables: dict[str, str]
    sequences: dict[str, int | None]
    prepared: frozenset[str]


def moment(shop: EagerShop, service: str) -> Moment:
    """What a standby has got, or a backup."""
    with shop.admin(service) as cursor:
        found = {}
        for table in (*TABLES[service], *PROTOCOL_TABLES):
            cursor.execute(f"SELECT coalesce(json_agg(t), '[]')::text FROM {table} t")
            found[table] = cursor.fetchone()[0]
        cursor.execute(_SEQUENCES)
        sequences = dict(cursor.fetchall())
        return Moment(service, found, sequences, frozenset(_prepared(cursor)))


def forgets_since(shop: EagerShop, then: Moment, *, unseen: bool = False) -> None:
    """The service's database is as it was then, in another life of its server. `unseen`: in the same one, as if the
    server's disk had been set back."""
    with shop.admin(then.service) as cursor:
        gone = then.prepared - set(_prepared(cursor))
        assert not gone, f"what was prepared then and is over can't be made again here: {gone}"
        for gid in set(_prepared(cursor)) - then.prepared:
            cursor.execute("ROLLBACK PREPARED %s", (gid,))
        cursor.execute("SET session_replication_role = replica")  # no foreign keys for a while
        for table, rows in then.tables.items():
            cursor.execute(f"DELETE FROM {table}")
            cursor.execute(
                f"INSERT INTO {table} OVERRIDING SYSTEM VALUE SELECT * FROM json_populate_recordset(NULL::{table}, %s)",
                (rows,),
            )
        cursor.execute("RESET session_replication_role")
        for sequence, at in then.sequences.items():
            cursor.execute("SELECT setval(%s::regclass, coalesce(%s, 1), %s)", (sequence, at, at is not None))
    if unseen:
        shop.reconnect(then.service)
    else:
        in_another_life(shop, then.service)


def in_another_life(shop: EagerShop, service: str) -> None:
    """The service's database is as it was, in another life of its server: it may have forgotten, and has not."""
    with shop.admin(service) as cursor:
        cursor.execute("UPDATE database_identity SET life = 'the one before', seen_at = clock_timestamp()")
    shop.reconnect(service)


def _prepared(cursor: Any) -> list[str]:
    cursor.execute("SELECT gid FROM pg_prepared_xacts WHERE database = current_database()")
    return [gid for (gid,) in cursor.fetchall()]
