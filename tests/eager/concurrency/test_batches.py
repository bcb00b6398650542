"""What does the work of several at once does what they would do one by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa
from eager_shop import TABLES, EagerShop
from sqlalchemy.orm import Session

from atomic_commit import Refused
from atomic_commit.declare import BranchDeclaration, Values
from atomic_commit.names import service_of
from atomic_commit.participant.members import run_members
from orders_service.branches import branches as orders
from orders_service.place_order import place_order
from products_service.branches import branches as products
from users_service.branches import branches as users
from users_service.remove_user import remove_user

TOGETHER = {
    name: branch for branches in (users, products, orders) for name, branch in branches.declared.items() if branch.batch
}

TAKE_ONE = sa.text("UPDATE products SET stock = stock - 1 WHERE id = :id")


@pytest.fixture
def members(shop: EagerShop, teapot: int) -> dict[str, Values]:
    """Four transactions, some of which have to do with the same rows."""
    kettle = shop.add_product("kettle", stock=5, price=2999)
    customers = [shop.add_user(name) for name in ("Ada", "Grace")]
    for user in customers:
        shop.place_order(user, {teapot: 1, kettle: 1})
        shop.place_order(user, {kettle: 1})
    again = (customers[1], {teapot: 1})  # one and the same user twice
    wanted = [
        (customers[1], {kettle: 1, teapot: 2}),
        (customers[0], {teapot: 1}),
        (shop.add_user("Eve"), {teapot: 3}),
        again,
    ]
    return {
        str(uuid4()): {
            "user_id": user,
            "lines": [{"product_id": product, "quantity": quantity} for product, quantity in lines.items()],
            "quantities": [[product, quantity] for product, quantity in lines.items()],
        }
        for user, lines in wanted
    }


def rows(session: Session, service: str) -> list[Any]:
    return [
        session.execute(sa.text(f"SELECT json_agg(t ORDER BY t::text) FROM {table} t")).scalar_one()
        for table in TABLES[service]
    ]


def test_most_branches_of_the_shop_do() -> None:
    assert set(TOGETHER) == {
        "users.hold_active_user",
        "products.take_stock",
        "products.restock",
        "orders.cancel_user_orders",
    }


@pytest.mark.parametrize("name", TOGETHER)
def test_a_branch_changes_and_returns_the_same(shop: EagerShop, members: dict[str, Values], name: str) -> None:
    seen = []
    for branch in (TOGETHER[name], replace(TOGETHER[name], batch=None)):
        with Session(shop.engines[service_of(name)]) as session:
            run = run_members(session, branch, members)
            added, noes = run.added, run.noes
            assert noes == {}
            seen.append((added, rows(session, service_of(name))))
            session.rollback()
    assert seen[0] == seen[1]


@pytest.mark.parametrize(
    ("name", "last"),
    [
        ("users.hold_active_user", {"user_id": 999_999}),
        ("products.take_stock", {"lines": [{"product_id": 999_999, "quantity": 1}]}),
        ("products.restock", {"quantities": [[999_999, 1]]}),
    ],
)
def test_who_is_refused_is_refused_by_itself(
    shop: EagerShop, members: dict[str, Values], name: str, last: dict[str, Any]
) -> None:
    with Session(shop.engines[service_of(name)]) as session:
        run = run_members(session, TOGETHER[name], {**members, "refused": last})
        added, noes = run.added, run.noes
    assert list(added) == list(members)
    assert list(noes) == ["refused"]


def test_what_was_done_together_is_undone_before_they_are_asked_one_by_one(shop: EagerShop, teapot: int) -> None:
    def take_one(session: Session, product_id: int) -> None:
        session.execute(TAKE_ONE, {"id": product_id})

    def take_all(session: Session, product_id: Sequence[int]) -> list[None]:
        for id in product_id:
            session.execute(TAKE_ONE, {"id": id})
        raise Refused("not_together", "Together it can't be done.")

    branch = BranchDeclaration("products.take_one", take_one, ("product_id",), batch=take_all)
    with Session(shop.engines["products"]) as session:
        run = run_members(session, branch, {name: {"product_id": teapot} for name in "abc"})
        added, noes = run.added, run.noes
        assert session.scalar(sa.text("SELECT stock FROM products WHERE id = :id"), {"id": teapot}) == 7
    assert (list(added), noes) == (["a", "b", "c"], {})


def test_a_no_undoes_what_its_own_has_done_and_nothing_else(shop: EagerShop, teapot: int) -> None:
    """Who is asked after it finds what it would have found without it: of ten, one and one are to be had."""

    def take_few(session: Session, product_id: int, pieces: int) -> None:
        for _ in range(pieces):
            session.execute(TAKE_ONE, {"id": product_id})
        if pieces > 1:
            raise Refused("many", "Not so many.")

    branch = BranchDeclaration("products.take_few", take_few, ("product_id", "pieces"))
    members = {name: {"product_id": teapot, "pieces": 9 if name == "b" else 1} for name in "abc"}
    with Session(shop.engines["products"]) as session:
        run = run_members(session, branch, members)
        added, noes = run.added, run.noes
        assert session.scalar(sa.text("SELECT stock FROM products WHERE id = :id"), {"id": teapot}) == 8
    assert (list(added), list(noes)) == (["a", "c"], ["b"])


def test_one_result_for_each_or_none_at_all(shop: EagerShop) -> None:
    """A function that forgets somebody would lose a transaction's values: its result counts for nobody."""
    branch = BranchDeclaration("products.forget", lambda session, number: {"seen": number}, ("number",))
    branch = replace(branch, batch=lambda session, number: [{"seen": 0}])
    with Session(shop.engines["products"]) as session:
        run = run_members(session, branch, {"a": {"number": 1}, "b": {"number": 2}})
        added = run.added
    assert added == {"a": {"seen": 1}, "b": {"seen": 2}}


def test_orders_placed_together_are_the_same_as_placed_one_by_one(shop: EagerShop, members: dict[str, Values]) -> None:
    placed = {uuid4(): {**values, "prices": [7] * len(values["lines"])} for values in members.values()}
    seen = []
    with Session(shop.engines["orders"]) as session:
        for commit in (
            lambda: place_order.commit_batch(session, placed),
            lambda: {id: place_order.commit(session, id, values) for id, values in placed.items()},
        ):
            results = commit()
            assert list(results) == list(placed)
            made = [result["order"] for result in results.values()]
            found = session.execute(
                sa.text(
                    "SELECT order_id, position, product_id, quantity, unit_price FROM order_lines"
                    " WHERE order_id = ANY (:ids) ORDER BY order_id, position"
                ),
                {"ids": [order["id"] for order in made]},
            ).all()
            first = made[0]["id"]
            seen.append(
                (
                    [{**order, "id": order["id"] - first, "created_at": None} for order in made],
                    [(line.order_id - first, *line[1:]) for line in found],
                )
            )
            session.rollback()
    assert seen[0] == seen[1]


def test_only_the_users_of_these_removals_are_removed(shop: EagerShop, user: int) -> None:
    removal, other, stranger = uuid4(), shop.add_user("Grace"), uuid4()
    with Session(shop.engines["users"]) as session:
        remove_user.begin(session, removal, {"user_id": user})
        remove_user.begin(session, uuid4(), {"user_id": other})
        remove_user.commit_batch(session, {removal: {"user_id": user}, stranger: {"user_id": other}})
        assert session.scalars(sa.text("SELECT id FROM users")).all() == [other]
