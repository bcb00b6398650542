"""What a database holds of the protocol at one moment: journal, branch rows, prepared transactions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from celery_config.manifest import SERVICES
from tests.broker.databases import Databases

#: An attempt: the transaction that leads it, and its number.
Attempt = tuple[str, int]
Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class State:
    """Of one service. Rows are those of its tables, with ids as text; ``prepared`` are gids."""

    transactions: Rows
    transaction_branches: Rows
    branch_rows: Rows
    prepared: list[str]

    def journal(self) -> dict[str, dict[str, Any]]:
        """Transaction id → its row."""
        return {row["id"]: row for row in self.transactions}

    def committed(self) -> dict[Attempt, list[str]]:
        """Attempt → the transactions that were committed by it."""
        found = defaultdict(list)
        for row in self.transactions:
            if row["state"] == "committed":
                found[attempt_of(row)].append(row["id"])
        return dict(found)

    def told(self, attempt: Attempt) -> list[str]:
        """The branches of an attempt that this service coordinates."""
        rows = (row for row in self.transaction_branches if (row["transaction_id"], row["attempt"]) == attempt)
        return [row["name"] for row in rows]

    def done(self) -> set[tuple[Attempt, str]]:
        """(attempt, branch) of every branch that is committed here."""
        return {
            ((row["transaction_id"], row["attempt"]), row["branch"])
            for row in self.branch_rows
            if row["kind"] == "done"
        }


def attempt_of(row: Mapping[str, Any]) -> Attempt:
    """The attempt that a transaction was last part of: its own, or its leader's."""
    if row["leader"]:
        return row["leader"], row["leader_attempt"]
    return row["id"], row["attempt"]


def read_states(databases: Databases) -> dict[str, State]:
    """Service → what its database holds now."""
    return {service: _read(databases, service) for service in SERVICES}


def _read(databases: Databases, service: str) -> State:
    def rows(statement: str) -> Rows:
        return [
            {name: str(value) if name in _IDS and value else value for name, value in row.items()}
            for row in databases.rows(service, statement)
        ]

    return State(
        rows("SELECT * FROM transactions ORDER BY created_at"),
        rows("SELECT * FROM transaction_branches ORDER BY transaction_id, attempt, position"),
        rows("SELECT * FROM branch_rows ORDER BY created_at"),
        [row["gid"] for row in rows("SELECT gid FROM pg_prepared_xacts WHERE database = current_database()")],
    )


_IDS = ("id", "transaction_id", "leader")
