"""One global lock order: rows in primary-key order, however they lie in their table. (The order of the branches, which
is the other half of it, is in ``tests/unit/test_branch_names.py``.)

Two transactions that lock the same rows then meet at the first of them, and none waits for the other in a circle.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa
from eager_shop import Shop

from atomic_commit import Limits
from atomic_commit.names import Gid, service_of
from atomic_commit.participant import Participant
from orders_service.branches import branches as orders
from products_service.branches import branches as products

BRANCHES = {**orders.declared, **products.declared}

#: Nobody hurries the branch that waits while the test looks at what it holds.
PATIENT = Limits(lock_timeout=60)

#: Without a word about order the planner reads rows as they lie or by some index, as it likes. Here it has no choice.
AS_THEY_LIE = "-c enable_indexscan=off -c enable_bitmapscan=off -c enable_indexonlyscan=off"

WAITERS = "SELECT count(*) FROM pg_stat_activity WHERE :pid = ANY (pg_blocking_pids(pid))"


@pytest.fixture
def values(shop: Shop, user: int) -> dict[str, Any]:
    """Three products and three orders of one user, in both tables the last one first; what the branches take."""
    ids = [shop.add_product(name, stock=10) for name in ("teapot", "kettle", "vase")]
    placed = [shop.place_order(user, {product: 1}) for product in ids]
    lay_in_reverse(shop, "products", "price", ids)
    lay_in_reverse(shop, "orders", "status", placed)
    return {
        "user_id": user,
        "lines": [{"product_id": id, "quantity": 1} for id in ids],
        "quantities": [[id, 1] for id in ids],
    }


def lay_in_reverse(shop: Shop, table: str, column: str, ids: list[int]) -> None:
    for id in reversed(ids[:-1]):  # a row that is updated moves behind all others
        shop.query(table, f"UPDATE {table} SET {column} = {column} WHERE id = :id", id=id)
    assert [id for (id,) in shop.query(table, f"SELECT id FROM {table} ORDER BY ctid")] == ids[::-1]


@pytest.fixture
def engines_that_read_as_rows_lie(shop: Shop) -> Iterator[dict[str, sa.Engine]]:
    made = {
        service: sa.create_engine(shop.engines[service].url, connect_args={"options": AS_THEY_LIE})
        for service in ("products", "orders")
    }
    yield made
    for engine in made.values():
        engine.dispose()


@pytest.mark.parametrize("name", ["products.take_stock", "products.restock", "orders.cancel_user_orders"])
def test_a_branch_locks_its_rows_in_primary_key_order_however_they_lie(
    shop: Shop, values: dict[str, Any], engines_that_read_as_rows_lie: dict[str, sa.Engine], name: str
) -> None:
    """Somebody holds the second of three rows. The branch, which waits for it, has the first and not yet the third."""
    table, gid = service_of(name), Gid("shop", uuid4(), 1, name)
    participant = Participant(engines_that_read_as_rows_lie[table], PATIENT, lambda gid: None)
    handed_on = {"prepared": [], "members": {str(gid.transaction): values}, "dropped": {}}
    branch = threading.Thread(target=participant.prepare, args=(gid, BRANCHES[name], handed_on))
    first, second, third = (id for (id,) in shop.query(table, f"SELECT id FROM {table} ORDER BY id"))
    with shop.engines[table].connect() as holder:
        holder.execute(sa.text(f"SELECT 1 FROM {table} WHERE id = {second} FOR UPDATE"))
        branch.start()
        wait_for_waiter(shop, table, holder, branch)
        free = shop.query(table, f"SELECT id FROM {table} ORDER BY id FOR UPDATE SKIP LOCKED")
        holder.rollback()
    branch.join()
    assert shop.prepared() == [str(gid)]
    participant.rollback(gid)
    assert free == [(third,)], f"before it came to {second} it should have locked {first} alone"


def wait_for_waiter(shop: Shop, service: str, holder: sa.Connection, branch: threading.Thread) -> None:
    pid = holder.connection.driver_connection.info.backend_pid  # type: ignore[union-attr]
    while not shop.query(service, WAITERS, pid=pid)[0][0]:
        assert branch.is_alive(), "the branch came through without the row"
        time.sleep(0.005)
