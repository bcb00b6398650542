"""What is in the databases before a measurement, and whether that is right which is there after it.

Written and read as the superuser, past every contender.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

import psycopg2

PRODUCTS = 12_000
_START_STOCK = 1_000_000
ORDERS, LINES = 3, 2

_ADD_PRODUCTS = """
INSERT INTO products (name, price, stock) SELECT 'product ' || n, 100, %s FROM generate_series(1, %s) AS n
"""


class Stock:
    """The databases of one contender, by their superuser's URLs."""

    def __init__(self, admin_url: Callable[[str], str]) -> None:
        self._admin_url = admin_url
        self._last_user = 0

    def rows(self, database: str, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        with (
            contextlib.closing(psycopg2.connect(self._admin_url(database))) as connection,
            connection,
            connection.cursor() as cursor,
        ):
            cursor.execute(statement, parameters or None)
            return cursor.fetchall() if cursor.description else []

    def add_products(self, count: int = PRODUCTS, stock: int = _START_STOCK) -> None:
        self.rows("products", _ADD_PRODUCTS, stock, count)

    def add_users(self, count: int, orders: int = ORDERS) -> list[int]:
        """So many new users, each with so many open orders of two lines. Returns their ids.

        Neighbours' orders are for different products: two removals meet on a row only when the products are used up,
        so what is measured is the cost of a removal and not the wait for a row.
        """
        first, last = self._last_user + 1, self._last_user + count
        self._last_user = last
        self.rows(
            "users",
            "INSERT INTO users (id, name, email) OVERRIDING SYSTEM VALUE"
            " SELECT n, 'user ' || n, n || '@example.com' FROM generate_series(%s, %s) AS n",
            first,
            last,
        )
        self.rows(
            "orders",
            f"""
            WITH new AS (
                INSERT INTO orders (user_id, status)
                SELECT n, 'open' FROM generate_series(%s, %s) AS n, generate_series(1, {orders}) AS o
                RETURNING id
            )
            INSERT INTO order_lines (order_id, position, product_id, quantity, unit_price)
            SELECT id, line, 1 + (id * {LINES} + line) %% {PRODUCTS}, 1 + id %% 3, 100
            FROM new, generate_series(0, {LINES - 1}) AS line
            """,
            first,
            last,
        )
        for database, table in (("users", "users"), ("orders", "orders"), ("orders", "order_lines")):
            self.rows(database, f"ANALYZE {table}")
        return list(range(first, last + 1))

    def expected_after_removal(self, users: list[int]) -> dict[int, int]:
        """Product → its stock once the open orders of the users are cancelled."""
        stock = dict(self.rows("products", "SELECT id, stock FROM products"))
        held = self.rows(
            "orders",
            "SELECT product_id, sum(quantity) FROM order_lines JOIN orders ON orders.id = order_id"
            " WHERE status = 'open' AND user_id BETWEEN %s AND %s GROUP BY product_id",
            users[0],
            users[-1],
        )
        return {**stock, **{product: stock[product] + quantity for product, quantity in held}}

    def wrong_after_removal(self, users: list[int], orders: int, expected: dict[int, int]) -> list[str]:
        """What is not as it must be once these users are removed: nothing, if all is right."""
        between = "BETWEEN %s AND %s"
        ends = users[0], users[-1]
        ((left,),) = self.rows("users", f"SELECT count(*) FROM users WHERE id {between}", *ends)
        states = dict(
            self.rows("orders", f"SELECT status, count(*) FROM orders WHERE user_id {between} GROUP BY 1", *ends)
        )
        stock = dict(self.rows("products", "SELECT id, stock FROM products"))
        off = sum(stock.get(product) != quantity for product, quantity in expected.items())
        wrong = [f"{left} of {len(users)} users are still there"] if left else []
        if states != {"cancelled": len(users) * orders}:
            wrong.append(f"orders are {states}, not {len(users) * orders} cancelled")
        if off:
            wrong.append(f"the stock of {off} products is wrong")
        return [*wrong, *self.prepared()]

    def fill_warehouse(self) -> None:
        """From here on nothing fits in any more."""
        self.rows("products", "UPDATE products SET capacity = stock")

    def seen(self, user: int) -> tuple[Any, ...]:
        """What a removal of this user would change."""
        return (
            self.rows("users", "SELECT status FROM users WHERE id = %s", user),
            self.rows("orders", "SELECT status, count(*) FROM orders WHERE user_id = %s GROUP BY 1", user),
            self.rows("products", "SELECT sum(stock) FROM products"),
        )

    def prepared(self) -> list[str]:
        ((count,),) = self.rows("postgres", "SELECT count(*) FROM pg_prepared_xacts")
        return [f"{count} transactions are still prepared"] if count else []

    def unsettled(self) -> int:
        """Transactions of the shop's journals that are not settled."""
        return sum(
            self.rows(service, "SELECT count(*) FROM transactions WHERE settled_at IS NULL")[0][0]
            for service in ("users", "orders")
        )

    def wait_settled(self, within: float) -> bool:
        """Wait until nothing is under way. Whether that came to be in time."""
        end = time.monotonic() + within
        while self.unsettled() or self.prepared():
            if time.monotonic() > end:
                return False
            time.sleep(0.1)
        return True
