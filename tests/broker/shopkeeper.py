"""What a test says to the shop, in the shop's words, and what it may see of it."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from celery.result import AsyncResult
from kombu import Connection
from redis import Redis

from celery_config import create_celery
from celery_config.manifest import COORDINATORS, SERVICES
from embedded.driver import Answer, Driver
from embedded.shop import Shop
from tests.broker.databases import Databases, RowLock
from tests.broker.waiting import SOON, wait_until
from tests.installation import INSTALLATION, QUEUE_NAMES

BRANCH_WORKERS = tuple(f"{service}-worker" for service in SERVICES)
OUTCOME_WORKERS = tuple(f"{service}-outcome-worker" for service in SERVICES)
WORKERS = BRANCH_WORKERS + OUTCOME_WORKERS

_UNFINISHED = "SELECT * FROM transactions WHERE settled_at IS NULL ORDER BY created_at"
_BRANCHES = "SELECT * FROM transaction_branches WHERE transaction_id = %s ORDER BY attempt, position"
_TRANSACTION = "SELECT * FROM transactions WHERE id = %s"
_HELD = """
    SELECT line.product_id, orders.status, sum(line.quantity)::int AS quantity
    FROM orders JOIN order_lines AS line ON line.order_id = orders.id GROUP BY 1, 2
"""


class Shopkeeper(Driver):
    """One test's hands and eyes on the running shop: what it makes is its own, nobody else's test touches it."""

    def __init__(self, shop: Shop, broker: str) -> None:
        super().__init__(shop.url)
        self.shop, self.broker = shop, broker
        self.databases = Databases(shop.admin_url)
        self.put_in: dict[int, int] = {}  # product → units that this test brought into the shop
        self._left_before = {row["id"] for row in self._unfinished()}

    # ---- what customers and clerks do

    def add_product(self, name: str = "Tea", *, stock: int = 10, capacity: int | None = None, price: int = 500) -> int:
        product = super().add_product(name, stock=stock, capacity=capacity, price=price)
        self.put_in[product] = stock
        return product

    def deliver(self, product: int, units: int) -> None:
        """Goods come in from outside."""
        self.change_stock(product, units).expect(200)
        self.put_in[product] += units

    def placed_order(self, user: int, quantities: Mapping[int, int]) -> int:
        """The id of an order that was placed, without doubt and to its end."""
        answer = self.place_order(user, quantities)
        assert answer.status in (201, 202), answer
        self.settled(answer)
        return int(self.row(answer)["result"]["order"]["id"])

    # ---- what readers see

    def everything(self) -> dict[str, Any]:
        """Every business row of every service. Two that are equal prove that nothing was changed anywhere."""
        return {
            "users": self.databases.rows("users", "SELECT id, name, email, status, removed_by FROM users ORDER BY id"),
            "products": self.databases.rows("products", "SELECT * FROM products ORDER BY id"),
            "orders": self.databases.rows("orders", "SELECT id, user_id, status, cancelled_by FROM orders ORDER BY id"),
            "lines": self.databases.rows("orders", "SELECT * FROM order_lines ORDER BY order_id, position"),
        }

    # ---- transactions

    def row(self, answer: Answer) -> dict[str, Any]:
        """The journal's row of the transaction that the answer tells of, read past the services: nothing that is done
        here can push the transaction on."""
        for service in COORDINATORS:
            if found := self.databases.rows(service, _TRANSACTION, answer.transaction):
                return {**found[0], "service": service}
        raise AssertionError(f"no service coordinates {answer.transaction}")

    def branches(self, answer: Answer) -> list[dict[str, Any]]:
        """The journal's rows of its branches, of all attempts in order."""
        return self.databases.rows(self.row(answer)["service"], _BRANCHES, answer.transaction)

    def decided(self, answer: Answer, within: float = SOON) -> str:
        """``committed`` or ``aborted``, once it is one of them."""

        def decision() -> str | None:
            state = str(self.row(answer)["state"])
            return state if state != "preparing" else None

        try:
            return wait_until(decision, f"{answer.transaction} is decided", within)
        except AssertionError as error:
            rows = [self.row(answer), *self.branches(answer)]
            raise AssertionError("\n".join([str(error), *map(str, rows)])) from None

    def settled(self, answer: Answer, within: float = SOON) -> str:
        """The decision, once every participant has answered it."""
        decision = self.decided(answer, within)
        wait_until(lambda: self.row(answer)["settled_at"], f"{answer.transaction} is settled", within)
        return decision

    def fate(self, answer: Answer) -> str:
        """What became of a request in the end, whatever it was answered at first."""
        return self.settled(answer) if answer.status in (200, 201, 202) else f"{answer.status}"

    def prepared(self, answer: Answer) -> list[str]:
        """The gids of the transaction's branches that are prepared now, in the order in which they were."""
        return [gid for gid in self.databases.prepared() if answer.transaction in gid]

    def wait_prepared(self, answer: Answer, branches: int) -> list[str]:
        """Wait until so many of its branches are prepared."""
        enough = lambda: len(gids) >= branches and gids if (gids := self.prepared(answer)) else None  # noqa: E731
        return wait_until(enough, f"{branches} branches of {answer.transaction} are prepared")

    def result_of(self, task_id: str) -> AsyncResult:
        """What Celery's result backend says about a task."""
        celery = create_celery("tests", INSTALLATION)
        celery.conf.update(broker_url=self.shop.broker_url, result_backend=self.shop.result_backend_url)
        return AsyncResult(task_id, app=celery)

    # ---- what happens to the shop

    def held(self, database: str, table: str, id: int) -> Any:
        """Hold a row, so that whoever wants to change it waits: `with shop.held(…) as lock`."""
        return self.databases.row_lock(database, table, id)

    def wait_for_waiter(self, lock: RowLock) -> None:
        """Wait until some branch (or decision) waits for the held row."""
        wait_until(lock.waiters, "somebody waits for the held row", within=20)

    @contextmanager
    def down(self, *names: str, kill: bool = False) -> Iterator[None]:
        """These processes are down while the block runs, and ready again after it."""
        try:
            _each(names, lambda name: self.shop.hold_down(name, kill=kill))
            yield
        finally:
            _each(names, self.shop.bring_up)

    @contextmanager
    def with_settings(self, name: str, **environment: str) -> Iterator[None]:
        """The process runs with these settings while the block runs."""
        self.shop.hold_down(name)
        self.shop.bring_up(name, environment=environment)
        try:
            yield
        finally:
            self.shop.hold_down(name)
            self.shop.bring_up(name)

    def kill(self, name: str) -> None:
        """``kill -9``. Supervision starts it again."""
        self.shop.kill(name)

    @contextmanager
    def frozen(self, name: str) -> Iterator[None]:
        """The process hangs while the block runs: its connections stay open and nothing answers."""
        self.shop.signal(name, signal.SIGSTOP)
        try:
            yield
        finally:
            self.shop.signal(name, signal.SIGCONT)

    def wait_ready(self, name: str) -> None:
        self.shop.wait_ready(name)

    def bring_everything_up(self) -> None:
        _each(self.shop.names, self.shop.bring_up)

    def lose_every_message(self) -> None:
        """Whatever waits in queues is gone, and every result with it."""
        with Redis.from_url(self.shop.result_backend_url) as redis:
            redis.flushall()
        if self.broker == "rabbitmq":
            with Connection(self.shop.broker_url) as connection:
                for queue in QUEUE_NAMES:
                    connection.default_channel.queue_purge(queue)

    # ---- what must be true whenever the shop is quiet

    def assert_whole(self, within: float = SOON) -> None:
        """Nothing undecided, unsettled or prepared is left; nothing is marked; the conservation law holds; nobody who
        was removed has an open order."""
        wait_until(lambda: not self.unfinished() and not self._prepared_now(), "the shop is quiet", within)
        marks = {
            "users": self.databases.rows("users", "SELECT id, removed_by FROM users WHERE status = 'removing'"),
            "orders": self.databases.rows("orders", "SELECT id, cancelled_by FROM orders WHERE status = 'cancelling'"),
        }
        left = [row for rows in marks.values() for row in rows if not self._left_before & set(row.values())]
        assert not left, f"marked by a transaction that is over: {left}"
        assert not (wrong := self._unconserved()), f"the conservation law is broken: {wrong}"
        assert not (orphans := self._orphans()), f"open orders of users who don't exist: {orphans}"

    def end_whole(self) -> None:
        """For the end of a test: everything runs again, and the shop is whole. Fails with a report where it is not."""
        self.bring_everything_up()
        try:
            self.assert_whole()
        except AssertionError as error:
            pytest.fail(f"{error}\n{self.report()}", pytrace=False)

    def report(self) -> str:
        """What a person needs who was not there: the transactions that did not end, and the processes' last words."""
        parts = [f"prepared: {self._asked(self.databases.prepared)}"]
        for row in self._asked(self._unfinished) or ():
            branches = self.databases.rows(row["service"], _BRANCHES, row["id"])
            parts.append(json.dumps({**row, "branches": branches}, default=str, indent=1))
            parts += [
                f"{service}: {self._asked(lambda s=service, r=row: self._branch_rows(s, r))}" for service in SERVICES
            ]
        for name in self.shop.names:
            lines = [line for line in self.shop.log_of(name).splitlines() if '"GET /readyz' not in line]
            parts.append(f"---- {name}\n" + "\n".join(lines[-30:]))
        return "\n".join(parts)

    def _branch_rows(self, service: str, row: dict[str, Any]) -> list[dict[str, Any]]:
        return self.databases.rows(service, "SELECT * FROM branch_rows WHERE transaction_id = %s", row["id"])

    def _asked(self, question: Callable[[], Any]) -> Any:
        try:
            return question()
        except Exception as error:  # a report must come out, whatever else is broken
            return [{"service": "users", "id": None, "error": repr(error)}] if question == self._unfinished else error

    def _unfinished(self) -> list[dict[str, Any]]:
        return [
            {**row, "service": service} for service in SERVICES for row in self.databases.rows(service, _UNFINISHED)
        ]

    def unfinished(self) -> list[dict[str, Any]]:
        """The transactions of this test that are undecided or unsettled, in any journal."""
        return [row for row in self._unfinished() if row["id"] not in self._left_before]

    def _prepared_now(self) -> list[str]:
        return [gid for gid in self.databases.prepared() if not any(str(id) in gid for id in self._left_before)]

    def _unconserved(self) -> list[str]:
        """For each product: stock + the quantities of its open orders = what was put in − what was fulfilled."""
        held: dict[tuple[int, str], int] = {
            (row["product_id"], row["status"]): row["quantity"] for row in self.databases.rows("orders", _HELD)
        }
        stock = {row["id"]: row["stock"] for row in self.databases.rows("products", "SELECT id, stock FROM products")}
        return [
            f"product {product}: stock {stock[product]} + open {held.get((product, 'open'), 0)}"
            f" != put in {put_in} - fulfilled {held.get((product, 'fulfilled'), 0)}"
            for product, put_in in self.put_in.items()
            if stock[product] + held.get((product, "open"), 0) != put_in - held.get((product, "fulfilled"), 0)
        ]

    def _orphans(self) -> list[dict[str, Any]]:
        users = {row["id"] for row in self.databases.rows("users", "SELECT id FROM users")}
        opened = self.databases.rows("orders", "SELECT id, user_id FROM orders WHERE status IN ('open', 'cancelling')")
        return [order for order in opened if order["user_id"] not in users]


def _each(names: tuple[str, ...], what: Callable[[str], object]) -> None:
    """Do it to all at once: starting a worker takes seconds."""
    with ThreadPoolExecutor(len(names)) as pool:
        list(pool.map(what, names))
