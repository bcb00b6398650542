"""One global lock order: rows in primary-key order, however they lie in their table. (The order of the branches, which
is the other half of it, is in ``tests/unit/protocol/test_branch_names.py``.)

Two transactions that lock the same rows then meet at the first of them, and none waits for the other in a circle. The
same holds for transactions that share an attempt: what all of them touch is locked in that order before the first one
runs, and the rows of the journal are locked in it before anything is decided about them.
"""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa
from eager_line import all_removed, prepare_together
from eager_shop import EagerShop
from sqlalchemy.orm import Session

from atomic_commit import Limits
from atomic_commit.coordinator.decide import Decider
from atomic_commit.declare import BranchDeclaration
from atomic_commit.names import Gid, service_of
from atomic_commit.participant.members import run_members
from atomic_commit.participant.prepared import Participant
from atomic_commit.postgres.database import translated_errors
from atomic_commit.votes import Cause
from orders_service.branches import branches as orders
from products_service.branches import branches as products
from tests.installation import INSTALLATION
from users_service.branches import branches as users
from users_service.remove_user import remove_user

BRANCHES = {**orders.declared, **products.declared, **users.declared}

#: Nobody hurries the branch that waits while the test looks at what it holds.
PATIENT = Limits(lock_timeout=60)

WAITERS = "SELECT count(*) FROM pg_stat_activity WHERE :pid = ANY (pg_blocking_pids(pid))"


@pytest.fixture
def values(shop: EagerShop, user: int) -> dict[str, Any]:
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


def lay_in_reverse(shop: EagerShop, table: str, column: str, ids: list[int]) -> None:
    for id in reversed(ids[:-1]):  # a row that is updated moves behind all others
        shop.query(table, f"UPDATE {table} SET {column} = {column} WHERE id = :id", id=id)
    assert [id for (id,) in shop.query(table, f"SELECT id FROM {table} ORDER BY ctid")] == ids[::-1]


def assert_locks_in_order(
    shop: EagerShop, engines: dict[str, sa.Engine], declared: BranchDeclaration, members: dict[str, Any]
) -> None:
    """Somebody holds the second of three rows. The branch, which waits for it, has the first and not yet the third."""
    table, gid = service_of(declared.name), Gid(INSTALLATION, "users.remove_user", uuid4(), 1, declared.name)
    participant = Participant(engines[table], shop.atomic(table).identity, PATIENT, lambda gid: None)
    handed_on: Any = {"prepared": {}, "members": members, "dropped": {}}
    branch = threading.Thread(target=participant.prepare, args=(gid, declared, handed_on))
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


@pytest.mark.parametrize("name", ["products.take_stock", "products.restock", "orders.cancel_user_orders"])
def test_a_branch_locks_its_rows_in_primary_key_order_however_they_lie(
    shop: EagerShop, values: dict[str, Any], engines_that_read_as_rows_lie: dict[str, sa.Engine], name: str
) -> None:
    assert_locks_in_order(shop, engines_that_read_as_rows_lie, BRANCHES[name], {str(uuid4()): values})


SHARED = ["users.hold_active_user", "products.take_stock", "products.restock", "orders.cancel_user_orders"]


@pytest.fixture
def members(shop: EagerShop) -> dict[str, dict[str, Any]]:
    """Three transactions for any branch, each with one row for it to touch, the last row first; and the rows lie so."""
    ids = [shop.add_product(name, stock=10) for name in ("teapot", "kettle", "vase")]
    people = [shop.add_user(name) for name in ("Ada", "Grace", "Eve")]
    placed = [shop.place_order(user, {product: 1}) for user, product in zip(people, ids, strict=True)]
    lay_in_reverse(shop, "products", "price", ids)
    lay_in_reverse(shop, "orders", "status", placed)
    lay_in_reverse(shop, "users", "name", people)
    return {
        str(uuid4()): {
            "user_id": user,
            "lines": [{"product_id": product, "quantity": 1}],
            "quantities": [[product, 1]],
        }
        for user, product in reversed(list(zip(people, ids, strict=True)))
    }


@pytest.mark.parametrize("name", SHARED)
@pytest.mark.parametrize("together", [True, False], ids=["together", "one-by-one"])
def test_a_branch_that_several_share_locks_the_rows_of_all_in_primary_key_order(
    shop: EagerShop,
    members: dict[str, Any],
    engines_that_read_as_rows_lie: dict[str, sa.Engine],
    name: str,
    together: bool,
) -> None:
    declared = BRANCHES[name] if together else replace(BRANCHES[name], batch=None)
    assert_locks_in_order(shop, engines_that_read_as_rows_lie, declared, members)


def test_it_does_so_again_where_it_has_to_find_out_who_says_no(shop: EagerShop, members: dict[str, Any]) -> None:
    """One is refused, so all are undone and tried one by one. Somebody takes the second row in between."""
    refused = {str(uuid4()): {"lines": [{"product_id": 999, "quantity": 1}]}}
    declared, rounds = BRANCHES["products.take_stock"], []
    first, second, third = (id for (id,) in shop.query("products", "SELECT id FROM products ORDER BY id"))
    with shop.engines["products"].connect() as holder, Session(shop.engines["products"]) as session:

        def lock(session: Session, **values: Any) -> None:
            rounds.append(values)
            if len(rounds) == 2:
                holder.execute(sa.text(f"SELECT 1 FROM products WHERE id = {second} FOR UPDATE"))
            assert declared.locks
            declared.locks(session, **values)

        def run() -> None:
            session.execute(sa.text("SET lock_timeout = '60s'"))
            with translated_errors():
                run_members(session, replace(declared, locks=lock, batch=None), {**refused, **members})

        holder.execute(sa.text("SELECT 1"))
        branch = threading.Thread(target=run)
        branch.start()
        wait_for_waiter(shop, "products", holder, branch)
        free = shop.query("products", "SELECT id FROM products ORDER BY id FOR UPDATE SKIP LOCKED")
        holder.rollback()
        branch.join()
        session.rollback()
    assert free == [(third,)], f"before it came to {second} it should have locked {first} alone"


def test_a_lock_that_is_not_to_be_had_is_waited_for_once(shop: EagerShop, members: dict[str, Any]) -> None:
    declared, waits = BRANCHES["products.take_stock"], []
    [(taken,)] = shop.query("products", "SELECT min(id) FROM products")

    def lock(session: Session, **values: Any) -> None:
        waits.append(session.scalar(sa.text("SHOW lock_timeout")))
        assert declared.locks
        declared.locks(session, **values)

    with (
        shop.locked("products", "SELECT 1 FROM products WHERE id = :id FOR UPDATE", id=taken),
        Session(shop.engines["products"]) as session,
    ):
        session.execute(sa.text("SET LOCAL lock_timeout = '300ms'"))
        run = run_members(session, replace(declared, locks=lock, batch=None), members)
        added, noes = run.added, run.noes
    assert waits == ["300ms", "20ms", "20ms"]
    assert len(added) == 2
    assert [no.cause for no in noes.values()] == [Cause.CONFLICT]


def test_a_decider_locks_the_rows_of_an_attempt_in_the_order_of_their_ids(
    shop: EagerShop, members: dict[str, Any], engines_that_read_as_rows_lie: dict[str, sa.Engine]
) -> None:
    begun = all_removed(shop, [values["user_id"] for values in members.values()])
    with shop.post.loses():
        shop.dispatch("users", "remove_user")
    handed_on = prepare_together(shop, "users", begun)
    first, second, third = sorted(record.id for record in begun)
    for id in (third, second, first):  # a row that is updated moves behind all others
        shop.query("users", "UPDATE transactions SET error = error WHERE id = :id", id=id)
    atomic = shop.atomic("users")
    decider = Decider(
        engines_that_read_as_rows_lie["users"],
        atomic.messages,
        {"remove_user": remove_user},
        PATIENT,
        atomic.coordinator.databases,
    )
    which = shop.record("users", first).led_by
    deciding = threading.Thread(target=decider.decide, args=(*which, handed_on))
    with shop.engines["users"].connect() as holder:
        holder.execute(sa.text("SELECT 1 FROM transactions WHERE id = :id FOR UPDATE"), {"id": second})
        deciding.start()
        wait_for_waiter(shop, "users", holder, deciding)
        free = shop.query("users", "SELECT id FROM transactions ORDER BY id FOR UPDATE SKIP LOCKED")
        holder.rollback()
    deciding.join()
    assert free == [(third,)], f"before it came to {second} it should have locked {first} alone"
    shop.recover()


def wait_for_waiter(shop: EagerShop, service: str, holder: sa.Connection, branch: threading.Thread) -> None:
    pid = holder.connection.driver_connection.info.backend_pid  # type: ignore[union-attr]
    while not shop.query(service, WAITERS, pid=pid)[0][0]:
        assert branch.is_alive(), "the branch came through without the row"
        time.sleep(0.005)
