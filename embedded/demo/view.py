"""The shop seen from outside: its APIs, its databases, its result backend. Nothing here changes anything."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, TypeVar

from celery import Celery
from sqlalchemy import Connection, NullPool, create_engine, text

from celery_config.manifest import SERVICES
from embedded.demo.errors import DemoFailed
from embedded.demo.facts import Order, Product, Snapshot, Task, Transaction, User
from embedded.driver import Driver
from embedded.shop import Shop

TABLES = {"users": ("users",), "products": ("products",), "orders": ("orders", "order_lines")}
"""The shop's own, by database. (The protocol's tables grow with every transaction, also with a refused one.)"""

LOOK_EVERY = 0.02
T = TypeVar("T")


class View:
    """One shop that runs."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        self._driver = Driver(shop.url)
        self._celery = Celery("demo", broker=shop.broker_url, backend=shop.result_backend_url, set_as_current=False)
        self._celery.conf.update(result_accept_content=["json"], accept_content=["json"])
        self._engines = {
            name: create_engine(
                shop.admin_url(name).replace("postgresql:", "postgresql+psycopg2:", 1), poolclass=NullPool
            )
            for name in SERVICES
        }

    # What the APIs say

    def snapshot(self) -> Snapshot:
        """Everything in the shop (it has less than one page of each)."""
        users = (User(u["id"], u["name"], u["status"]) for u in self._driver.read("users", "/users?limit=500"))
        products = (
            Product(p["id"], p["name"], p["stock"], p["capacity"])
            for p in self._driver.read("products", "/products?limit=500")
        )
        orders = (
            Order(o["id"], o["user_id"], o["status"], {n["product_id"]: n["quantity"] for n in o["lines"]})
            for o in self._driver.read("orders", "/orders?limit=500")
        )
        return Snapshot(
            {one.id: one for one in users}, {one.id: one for one in products}, {one.id: one for one in orders}
        )

    def settled(self, id: str, within: float) -> Transaction:
        """A transaction of the users service, once every participant has answered."""

        def look() -> Transaction | None:
            seen = Transaction.from_json(self._driver.transaction("users", id))
            return seen if seen.settled else None

        return wait_for(look, within, f"the settlement of transaction {id}", "users")

    # What the result backend says

    def chain(self, transaction: Transaction, attempt: int, *, patience: float = 2.0) -> list[Task]:
        """The links of an attempt's chain with the status of each AsyncResult, read now.

        A result is stored a moment after its task's work shows: for that long a status may still be PENDING.
        """
        links = [(branch.task_id, branch.queue) for branch in transaction.of_attempt(attempt)]
        id, queue = (said.rpartition(by)[0] for said, by in zip(links[-1], ":.", strict=True))
        links.append((f"{id}:users.decide", f"{queue}.users.outcome"))
        deadline = time.monotonic() + patience
        while True:
            found = [Task(id, queue, str(self._celery.AsyncResult(id).status)) for id, queue in links]
            if all(one.status != "PENDING" for one in found) or time.monotonic() > deadline:
                return found
            time.sleep(LOOK_EVERY)

    # What the databases say

    def rows(self) -> dict[str, list[str]]:
        """Every row of the shop's tables, and of the APIs' lists, as text; for comparing."""
        found = {}
        for database, tables in TABLES.items():
            with self._engines[database].connect() as connection:
                for table in tables:
                    rows = connection.scalars(text(f"SELECT to_jsonb(t)::text FROM {table} AS t"))
                    found[f"table {table}"] = sorted(rows)
        seen = self.snapshot()
        for name, listed in (("users", seen.users), ("products", seen.products), ("orders", seen.orders)):
            found[f"GET /{name}"] = sorted(json.dumps(asdict(one)) for one in listed.values())
        return found

    def user_ids(self) -> list[int]:
        """In the table."""
        with self._engines["users"].connect() as connection:
            return list(connection.scalars(text("SELECT id FROM users")))

    def prepared(self) -> dict[str, list[str]]:
        """Gids of prepared transactions, by database."""
        return self._everywhere("SELECT gid FROM pg_prepared_xacts WHERE database = current_database()")

    def unfinished(self) -> dict[str, list[str]]:
        """Transactions that are undecided or unsettled, by the service that coordinates them."""
        undone = "state = 'preparing' OR settled_at IS NULL OR quarantined_at IS NOT NULL"
        return self._everywhere(f"SELECT id::text FROM transactions WHERE {undone}")

    @contextmanager
    def locked_order(self, order: int) -> Iterator[int]:
        """Hold an order's row by a row lock, as a slow transaction would. Yields the session that holds it."""
        with self._engines["orders"].connect() as connection:
            connection.execute(text("SELECT id FROM orders WHERE id = :id FOR UPDATE"), {"id": order})
            yield int(connection.scalar(text("SELECT pg_backend_pid()")) or 0)

    def waiting_for(self, holder: int) -> tuple[int, str] | None:
        """A session that waits for a lock of the session `holder`, and for what it waits."""
        with self._engines["orders"].connect() as connection:
            row = connection.execute(
                text(
                    "SELECT pid, wait_event_type || ' ' || wait_event FROM pg_stat_activity"
                    " WHERE datname = 'orders' AND wait_event_type = 'Lock' AND :holder = ANY (pg_blocking_pids(pid))"
                ),
                {"holder": holder},
            ).first()
        return None if row is None else (row[0], row[1])

    def close(self) -> None:
        """Let go of the result backend's connections."""
        self._celery.close()

    def _everywhere(self, statement: str) -> dict[str, list[str]]:
        return {name: self._strings(engine.connect(), statement) for name, engine in self._engines.items()}

    @staticmethod
    def _strings(connection: Connection, statement: str) -> list[str]:
        with connection:
            return [str(value) for value in connection.scalars(text(statement))]


def wait_for(look: Callable[[], T | None], within: float, what: str, service: str | None = None) -> T:
    """What `look` finds, as soon as it does. Raises DemoFailed when it has not after `within` seconds."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        found = look()
        if found is not None:
            return found
        time.sleep(LOOK_EVERY)
    raise DemoFailed(f"Waited {within:g} s in vain for {what}.", service)


def as_problem(body: Any) -> dict[str, object]:
    """The members of a problem that people read."""
    return {name: body.get(name) for name in ("type", "title", "status", "detail", "branch", "reason")}
