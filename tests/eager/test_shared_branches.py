"""What those who share an attempt have to do with each other in a branch and in the decision: as good as nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa
from eager_line import all_placed, attempts_of, ends, reason
from eager_shop import Shop
from sqlalchemy.orm import Session

from atomic_commit import Impossible, Refused, TransactionRecord, records
from atomic_commit.declare import BranchDeclaration
from atomic_commit.members import run_members
from orders_service.place_order import place_order
from products_service.models import Product


def all_cancelled(shop: Shop, orders: list[int]) -> list[TransactionRecord]:
    """Cancellations of them that stand in line together."""
    with shop.all_stand_in_line():
        return [shop.begin("orders", "cancel_order", order_id=id) for id in orders]


def no_room_for_more(shop: Shop, product: int) -> None:
    shop.call("products", "PATCH", f"/products/{product}", {"capacity": shop.stock_of(product)}).expect(200)


@pytest.fixture
def kettle(shop: Shop) -> int:
    return shop.add_product("kettle", stock=10)


def test_a_no_undoes_what_its_own_has_done_and_nothing_else(shop: Shop, user: int, teapot: int, kettle: int) -> None:
    """The second one is refused when it has put back its teapot, because there is no room for its kettle."""
    orders = [shop.place_order(user, lines) for lines in ({teapot: 1}, {teapot: 1, kettle: 1}, {teapot: 1})]
    no_room_for_more(shop, kettle)
    begun = all_cancelled(shop, orders)
    shop.dispatch("orders", "cancel_order")
    assert ends(shop, "orders", begun) == [("committed", 1), ("aborted", 1), ("committed", 1)]
    assert reason(shop, "orders", begun[1]) == "no_room"
    assert (shop.stock_of(teapot), shop.stock_of(kettle)) == (9, 9)


def test_each_finds_in_its_session_what_a_new_one_would_find(shop: Shop, teapot: int) -> None:
    """What a function has read for one is not what it gets to see for the next, though somebody still holds it."""
    held = []

    def look_and_take(session: Session, product_id: int) -> dict[str, int]:
        held.append(session.get_one(Product, product_id))
        seen = held[-1].stock
        session.execute(sa.text("UPDATE products SET stock = stock - 1 WHERE id = :id"), {"id": product_id})
        return {"seen": seen}

    branch = BranchDeclaration("products.look_and_take", look_and_take, ("product_id",))
    with Session(shop.engines["products"]) as session:
        added, noes = run_members(session, branch, {name: {"product_id": teapot} for name in "abc"})
    assert [added[name]["seen"] for name in "abc"] == [10, 9, 8]
    assert noes == {}


def test_a_refusal_in_the_first_branch_is_none_where_those_who_caused_it_do_not_commit(
    shop: Shop, user: int, teapot: int
) -> None:
    """There is room for one teapot. The first one gets it, but can't commit: its order is locked."""
    orders = [shop.place_order(user, {teapot: 1}) for _ in range(2)]
    shop.call("products", "PATCH", f"/products/{teapot}", {"capacity": 9}).expect(200)
    begun = all_cancelled(shop, orders)
    with shop.locked("orders", "SELECT 1 FROM orders WHERE id = :id FOR UPDATE", id=orders[0]):
        shop.dispatch("orders", "cancel_order")
        assert [str(shop.record("orders", record.id).state) for record in begun] == ["preparing"] * 2
    shop.recover()
    assert sorted(state for state, _ in ends(shop, "orders", begun)) == ["aborted", "committed"]


# ---- the decision


def test_an_attempt_that_has_lost_a_member_is_decided_by_nobody(shop: Shop, user: int, teapot: int) -> None:
    """Whatever did that: what its branches have prepared is for all of them."""
    begun = all_placed(shop, *[(user, {teapot: 1})] * 3)
    with shop.post.loses():
        shop.dispatch("orders", "place_order")
    with Session(shop.engines["orders"]) as session:
        attempt = records.read_attempt(session, *shop.record("orders", begun[0].id).led_by)
    assert attempt is not None
    shop.query("orders", "UPDATE transactions SET state = 'aborted' WHERE id = :id", id=begun[1].id)
    with pytest.raises(Impossible):
        shop.atomic("orders").coordinator.decider.abort(attempt)
    shop.query("orders", "UPDATE transactions SET state = 'preparing' WHERE id = :id", id=begun[1].id)
    shop.recover()
    assert {state for state, _ in ends(shop, "orders", begun)} == {"committed"}


# ---- the coordinator's own change


def test_one_whose_own_change_is_refused_is_not_the_end_of_the_others(
    shop: Shop, user: int, teapot: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def commit(session: Session, transaction: Any, values: Any) -> Any:
        if len(values["lines"]) == 1 and values["lines"][0]["quantity"] == 2:
            raise Refused("not_two", "Nobody orders two.")
        return place_order.commit(session, transaction, values)

    begun = all_placed(shop, *[(user, {teapot: quantity}) for quantity in (1, 2, 3)])
    kinds = shop.atomic("orders").coordinator._kinds
    monkeypatch.setitem(kinds, "place_order", replace(place_order, commit=commit, commit_together=None))
    shop.dispatch("orders", "place_order")
    shop.recover()
    assert [state for state, _ in ends(shop, "orders", begun)] == ["committed", "aborted", "committed"]
    assert reason(shop, "orders", begun[1]) == "not_two"


def test_nobody_is_forgotten_by_what_commits_together(
    shop: Shop, user: int, teapot: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forgetful(session: Session, placed: Any) -> Any:
        return place_order.commit_together(session, dict(list(placed.items())[:-1]))  # type: ignore[misc]

    begun = all_placed(shop, (user, {teapot: 1}), (user, {teapot: 2}))
    kinds = shop.atomic("orders").coordinator._kinds
    monkeypatch.setitem(kinds, "place_order", replace(place_order, commit_together=forgetful))
    shop.dispatch("orders", "place_order")
    shop.recover()
    assert [state for state, _ in ends(shop, "orders", begun)] == ["committed"] * 2
    assert list(shop.orders_of(user).values()) == ["open"] * 2


def test_a_change_that_fails_for_all_together_is_not_counted_against_each(shop: Shop, user: int, teapot: int) -> None:
    shop.query("orders", "ALTER TABLE orders ADD CONSTRAINT closed CHECK (false) NOT VALID")
    try:
        begun = all_placed(shop, (user, {teapot: 1}), (user, {teapot: 1}))
        shop.dispatch("orders", "place_order")
    finally:
        shop.query("orders", "ALTER TABLE orders DROP CONSTRAINT closed")
    assert [shop.record("orders", record.id).failed_attempts for record in begun] == [0, 0]
    assert all(shop.record("orders", record.id).alone for record in begun)
    shop.recover()
    assert list(attempts_of(shop, "orders", begun).values()) == [1, 1]
    assert [state for state, _ in ends(shop, "orders", begun)] == ["committed"] * 2
