"""Two-phase commit without any broker: the floor. Four processes, each of which does one removal after the other on a
connection to each database, by hand-written statements: journal row, two prepared transactions, decision, outcomes.

There is no recovery, no retry, and nobody to accept a request while all four are busy.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass

import psycopg2
from psycopg2.extensions import connection as Connection
from psycopg2.extras import execute_values

from benchmarks.load import Caller

from .base import OnServers

_JOURNAL = "CREATE TABLE two_phase (id uuid PRIMARY KEY, user_id bigint NOT NULL, state text NOT NULL)"


class Direct2PC(OnServers):
    name = "direct 2PC"
    clients_are_its_own = True
    can_refuse = False
    client_processes = 4
    most_clients = 4

    def start_processes(self) -> None:
        with psycopg2.connect(self.servers.url("users")) as connection:
            connection.cursor().execute(_JOURNAL)
        connection.close()

    def caller(self) -> Caller:
        return TwoPhase(*map(self.servers.url, ("users", "orders", "products")))

    def removal(self, user: int) -> int:
        return user


@dataclass(frozen=True)
class TwoPhase:
    """The databases' URLs."""

    users: str
    orders: str
    products: str

    def open(self) -> Callable[[int], str]:
        users, orders, products = map(psycopg2.connect, (self.users, self.orders, self.products))

        def remove(user: int) -> str:
            gid = str(uuid.uuid4())
            _begin(users, gid, user)
            held = _cancel_orders(orders, user)
            _prepare(orders, f"{gid}:orders")
            _restock(products, held)
            _prepare(products, f"{gid}:products")
            _decide(users, gid, user)
            for connection, branch in ((orders, "orders"), (products, "products")):
                _commit_prepared(connection, f"{gid}:{branch}")
            _settle(users, gid)
            return "200"

        return remove


def _begin(users: Connection, gid: str, user: int) -> None:
    with users, users.cursor() as cursor:
        cursor.execute("UPDATE users SET status = 'removing' WHERE id = %s AND status = 'active'", (user,))
        if cursor.rowcount != 1:
            raise LookupError(f"user {user} can't be removed")
        cursor.execute("INSERT INTO two_phase VALUES (%s, %s, 'preparing')", (gid, user))


def _cancel_orders(orders: Connection, user: int) -> list[tuple[int, int]]:
    """Product and quantity of what the orders held, in product order."""
    with orders.cursor() as cursor:
        cursor.execute("SELECT id FROM orders WHERE user_id = %s AND status = 'open' ORDER BY id FOR UPDATE", (user,))
        ids = [row[0] for row in cursor.fetchall()]
        cursor.execute("UPDATE orders SET status = 'cancelled' WHERE id = ANY (%s)", (ids,))
        cursor.execute(
            "SELECT product_id, sum(quantity)::integer FROM order_lines WHERE order_id = ANY (%s)"
            " GROUP BY 1 ORDER BY 1",
            (ids,),
        )
        return cursor.fetchall()


def _restock(products: Connection, held: list[tuple[int, int]]) -> None:
    with products.cursor() as cursor:
        cursor.execute(
            "SELECT id, stock, capacity FROM products WHERE id = ANY (%s) ORDER BY id FOR UPDATE",
            ([product for product, _ in held],),
        )
        room = {product: capacity and capacity - stock for product, stock, capacity in cursor.fetchall()}
        if any(room[product] is not None and quantity > room[product] for product, quantity in held):
            raise ValueError("no room")
        execute_values(
            cursor,
            "UPDATE products SET stock = stock + held.quantity"
            " FROM (VALUES %s) AS held (id, quantity) WHERE products.id = held.id",
            held,
        )


def _prepare(connection: Connection, gid: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("PREPARE TRANSACTION %s", (gid,))
        if cursor.statusmessage != "PREPARE TRANSACTION":
            raise RuntimeError(f"{gid} was not prepared: {cursor.statusmessage}")
    connection.rollback()  # the driver does not see that the transaction has left the session


def _decide(users: Connection, gid: str, user: int) -> None:
    with users, users.cursor() as cursor:
        cursor.execute("UPDATE two_phase SET state = 'committed' WHERE id = %s AND state = 'preparing'", (gid,))
        if cursor.rowcount != 1:
            raise RuntimeError(f"{gid} is decided already")
        cursor.execute("DELETE FROM users WHERE id = %s", (user,))


def _commit_prepared(connection: Connection, gid: str) -> None:
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            cursor.execute("COMMIT PREPARED %s", (gid,))
    finally:
        connection.autocommit = False


def _settle(users: Connection, gid: str) -> None:
    with users, users.cursor() as cursor:
        cursor.execute("UPDATE two_phase SET state = 'settled' WHERE id = %s", (gid,))
