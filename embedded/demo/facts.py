"""What the demo sees: users, products, orders, transactions. Plain values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self


@dataclass(frozen=True)
class User:
    id: int
    name: str
    #: "active" or "removing"
    status: str


@dataclass(frozen=True)
class Product:
    id: int
    name: str
    #: pieces that are here
    stock: int
    #: pieces that fit in; None: any number
    capacity: int | None


@dataclass(frozen=True)
class Order:
    id: int
    user_id: int
    #: "open", "cancelling", "cancelled" or "fulfilled"
    status: str
    #: product id → quantity
    lines: Mapping[int, int]


@dataclass(frozen=True)
class Snapshot:
    """What the three APIs say, each row under its id."""

    users: Mapping[int, User]
    products: Mapping[int, Product]
    orders: Mapping[int, Order]

    def quantity(self, product: int, status: str) -> int:
        """How much of a product the orders of this status hold."""
        held: Counter[int] = Counter()
        for order in self.orders.values():
            if order.status == status:
                held.update(order.lines)
        return held[product]

    def orders_of(self, user: int, status: str) -> list[int]:
        """Ids, the oldest first."""
        return sorted(o.id for o in self.orders.values() if o.user_id == user and o.status == status)


@dataclass(frozen=True)
class Branch:
    """One branch of one attempt, as the coordinator tells it."""

    name: str
    #: from 1
    attempt: int
    queue: str
    task_id: str
    #: "yes", "no" or "silent"; None until its attempt is decided
    vote: str | None
    #: "commit" or "rollback"; None until its attempt is decided
    outcome: str | None
    dispatched_at: datetime
    #: None until then
    decided_at: datetime | None
    settled_at: datetime | None


@dataclass(frozen=True)
class Transaction:
    """A transaction as its coordinator tells it."""

    id: str
    #: "preparing", "committed", "aborted" or "quarantined"
    state: str
    #: the last one, from 1
    attempt: int
    settled: bool
    created_at: datetime
    #: None until then
    decided_at: datetime | None
    settled_at: datetime | None
    #: of all attempts, in chain order
    branches: tuple[Branch, ...]

    @classmethod
    def from_json(cls, said: dict[str, Any]) -> Self:
        """From an answer's `transaction`, or from `GET /transactions/{id}`."""
        return cls(
            id=said["id"],
            state=said["state"],
            attempt=said["attempt"],
            settled=said["settled"],
            created_at=datetime.fromisoformat(said["created_at"]),
            decided_at=_moment(said["decided_at"]),
            settled_at=_moment(said["settled_at"]),
            branches=tuple(_branch(one) for one in said["branches"]),
        )

    def of_attempt(self, attempt: int) -> list[Branch]:
        """The branches of one attempt, in chain order."""
        return [branch for branch in self.branches if branch.attempt == attempt]

    def milliseconds_to(self, then: datetime | None) -> str:
        """From the moment of its acceptance, for people."""
        return f"{(then - self.created_at).total_seconds() * 1000:.0f} ms" if then else "not yet"


@dataclass(frozen=True)
class Task:
    """One link of a chain, with what its AsyncResult says."""

    #: the gid of its branch
    id: str
    queue: str
    #: Celery's word
    status: str

    @property
    def name(self) -> str:
        return self.id.rpartition(":")[2]


@dataclass(frozen=True, order=True)
class Event:
    """Something that happened, and who saw it."""

    at: datetime
    what: str
    #: where it was seen, in words
    seen_in: str


def _branch(said: dict[str, Any]) -> Branch:
    return Branch(
        name=said["name"],
        attempt=said["attempt"],
        queue=said["queue"],
        task_id=said["task_id"],
        vote=said["vote"],
        outcome=said["outcome"],
        dispatched_at=datetime.fromisoformat(said["dispatched_at"]),
        decided_at=_moment(said["decided_at"]),
        settled_at=_moment(said["settled_at"]),
    )


def _moment(text: str | None) -> datetime | None:
    """From an RFC 3339 timestamp."""
    return datetime.fromisoformat(text) if text else None
