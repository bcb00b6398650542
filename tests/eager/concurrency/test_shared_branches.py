"""What those who share an attempt have to do with each other in a branch and in the decision: as good as nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa
from eager_line import all_placed, attempts_of, ends, reason
from eager_shop import INSTALLATION, LIMITS, EagerShop
from sqlalchemy.orm import Session

from atomic_commit import Impossible, Refused, TransactionRecord
from atomic_commit.declare import BranchDeclaration
from atomic_commit.journal import records
from atomic_commit.names import Gid
from atomic_commit.participant.members import run_members
from orders_service.place_order import place_order
from products_service.models import Product
from users_service.branches import branches as users
from users_service.remove_user import remove_user


def all_cancelled(shop: EagerShop, orders: list[int]) -> list[TransactionRecord]:
    """Cancellations of them that stand in line together."""
    with shop.all_stand_in_line():
        return [shop.begin("orders", "cancel_order", order_id=id) for id in orders]


def no_room_for_more(shop: EagerShop, product: int) -> None:
    shop.call("products", "PATCH", f"/products/{product}", {"capacity": shop.stock_of(product)}).expect(200)


@pytest.fixture
def kettle(shop: EagerShop) -> int:
    return shop.add_product("kettle", stock=10)


def test_a_no_undoes_what_its_own_has_done_and_nothing_else(
    shop: EagerShop, user: int, teapot: int, kettle: int
) -> None:
    """The second one is refused when it has put back its teapot, because there is no room for its kettle."""
    orders = [shop.place_order(user, lines) for lines in ({teapot: 1}, {teapot: 1, kettle: 1}, {teapot: 1})]
    no_room_for_more(shop, kettle)
    begun = all_cancelled(shop, orders)
    shop.dispatch("orders", "cancel_order")
    assert ends(shop, "orders", begun) == [("committed", 1), ("aborted", 1), ("committed", 1)]
    assert reason(shop, "orders", begun[1]) == "no_room"
    assert (shop.stock_of(teapot), shop.stock_of(kettle)) == (9, 9)


def test_each_finds_in_its_session_what_a_new_one_would_find(shop: EagerShop, teapot: int) -> None:
    """What a function has read for one is not what it gets to see for the next, though somebody still holds it."""
    held = []

    def look_and_take(session: Session, product_id: int) -> dict[str, int]:
        held.append(session.get_one(Product, product_id))
        seen = held[-1].stock
        session.execute(sa.text("UPDATE products SET stock = stock - 1 WHERE id = :id"), {"id": product_id})
        return {"seen": seen}

    branch = BranchDeclaration("products.look_and_take", look_and_take, ("product_id",))
    with Session(shop.engines["products"]) as session:
        run = run_members(session, branch, {name: {"product_id": teapot} for name in "abc"})
        added, noes = run.added, run.noes
    assert [added[name]["seen"] for name in "abc"] == [10, 9, 8]
    assert noes == {}


def test_a_refusal_in_the_first_branch_is_none_where_those_who_caused_it_do_not_commit(
    shop: EagerShop, user: int, teapot: int
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


# ---- what is left of those who are left out


def take_one(session: Session, product_id: int, refused: bool) -> None:
    session.execute(sa.text("UPDATE products SET stock = stock - 1 WHERE id = :id"), {"id": product_id})
    if refused:
        raise Refused("not_this_one", "This one is refused.")


def take_each(session: Session, product_id: list[int], refused: list[bool]) -> list[Refused | None]:
    lock_each(session, product_id, refused)
    for id, no in zip(product_id, refused, strict=True):
        if not no:
            take_one(session, id, no)
    return [Refused("not_this_one", "This one is refused.") if no else None for no in refused]


def lock_each(session: Session, product_id: list[int], refused: list[bool]) -> None:
    locked = "SELECT id FROM products WHERE id = ANY (:ids) ORDER BY id FOR UPDATE"
    session.execute(sa.text(locked), {"ids": product_id})


@pytest.mark.parametrize("together", [take_each, None], ids=["together", "one-by-one"])
def test_who_is_left_out_keeps_no_row_locked(shop: EagerShop, teapot: int, kettle: int, together: Any) -> None:
    """What is prepared keeps its locks until the outcome: whoever wants that row would wait for what has no use."""
    branch = BranchDeclaration("products.take_one", take_one, ("product_id", "refused"), lock_each, together)
    members = {
        "a": {"product_id": teapot, "refused": False},
        "b": {"product_id": kettle, "refused": True},
        "c": {"product_id": teapot, "refused": False},
    }
    with Session(shop.engines["products"]) as session:
        run = run_members(session, branch, members)
        free = shop.query("products", "SELECT id FROM products ORDER BY id FOR UPDATE SKIP LOCKED")
        stocks = session.scalars(sa.text("SELECT stock FROM products ORDER BY id")).all()
    assert (list(run.added), list(run.noes)) == (["a", "c"], ["b"])
    assert free == [(kettle,)]
    assert stocks == [8, 10]


def test_whose_refusal_together_tells_is_asked_no_second_time(shop: EagerShop, teapot: int, kettle: int) -> None:
    """Whom the function for several names is believed: the function for one is not called at all."""
    asked: list[int] = []

    def never(session: Session, product_id: int, refused: bool) -> None:
        asked.append(product_id)

    branch = BranchDeclaration("products.take_one", never, ("product_id", "refused"), lock_each, take_each)
    members = {name: {"product_id": teapot, "refused": name == "b"} for name in "abc"}
    with Session(shop.engines["products"]) as session:
        run = run_members(session, branch, members)
    assert (list(run.added), list(run.noes), asked) == (["a", "c"], ["b"], [])


def test_a_user_who_is_being_removed_is_not_locked_for_an_order_that_is_refused(shop: EagerShop, user: int) -> None:
    """The removal would wait for it."""
    leaver = shop.add_user("Leaver")
    with shop.post.loses():
        shop.begin("users", "remove_user", user_id=leaver)
    with Session(shop.engines["users"]) as session:
        run = run_members(
            session, users.declared["users.hold_active_user"], {"a": {"user_id": leaver}, "b": {"user_id": user}}
        )
        free = shop.query("users", "SELECT id FROM users ORDER BY id FOR UPDATE SKIP LOCKED")
    assert (list(run.added), [no.reason for no in run.noes.values()]) == (["b"], ["user_is_being_removed"])
    assert free == [(leaver,)]
    shop.recover()


def test_an_outcome_worker_does_not_wait_long_for_a_row_of_the_business(
    shop: EagerShop, customers: list[int], teapot: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be the one who would have to let go of it."""
    waits: list[str] = []

    def commit(session: Session, transaction: Any, values: Any) -> Any:
        waits.append(session.scalar(sa.text("SHOW lock_timeout")))
        return remove_user.commit(session, transaction, values)

    def abort(session: Session, transaction: Any, values: Any) -> Any:
        waits.append(session.scalar(sa.text("SHOW lock_timeout")))
        return remove_user.abort(session, transaction, values)

    kinds = shop.atomic("users").coordinator._kinds
    monkeypatch.setitem(kinds, "remove_user", replace(remove_user, commit=commit, commit_batch=None, abort=abort))
    shop.remove_user(customers[0]).expect(200)
    shop.call("products", "PATCH", f"/products/{teapot}", {"capacity": shop.stock_of(teapot)}).expect(200)
    shop.remove_user(customers[1]).expect(409)
    assert waits == [f"{round(LIMITS.branch_row_timeout * 1000)}ms"] * 2


@pytest.fixture
def customers(shop: EagerShop, teapot: int) -> list[int]:
    ids = [shop.add_user(f"User{number}") for number in range(2)]
    for id in ids:
        shop.place_order(id, {teapot: 1})
    return ids


# ---- holds


def zero_by_statement(session: Session, product_id: int) -> None:
    session.execute(sa.update(Product).where(Product.id == product_id).values(stock=0))


def zero_by_object(session: Session, product_id: int) -> None:
    session.get_one(Product, product_id).stock = 0


@pytest.mark.parametrize("function", [zero_by_statement, zero_by_object])
def test_a_hold_that_writes_is_refused_loudly(shop: EagerShop, teapot: int, function: Any) -> None:
    """Whom a later branch leaves out stays in what it has prepared."""
    branch = BranchDeclaration("products.look", function, ("product_id",), holds=True)
    gid = Gid(INSTALLATION, "orders.look", uuid4(), 1, branch.name)
    handed_on: Any = {"prepared": {}, "members": {str(gid.transaction): {"product_id": teapot}}, "dropped": {}}
    with pytest.raises(Impossible, match="hold"):
        shop.participant_of(gid).prepare(gid, branch, handed_on)
    assert shop.stock_of(teapot) == 10
    assert shop.prepared() == []


# ---- the decision


def test_an_attempt_that_has_lost_a_member_is_decided_by_nobody(shop: EagerShop, user: int, teapot: int) -> None:
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
    shop: EagerShop, user: int, teapot: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def commit(session: Session, transaction: Any, values: Any) -> Any:
        if len(values["lines"]) == 1 and values["lines"][0]["quantity"] == 2:
            raise Refused("not_two", "Nobody orders two.")
        return place_order.commit(session, transaction, values)

    begun = all_placed(shop, *[(user, {teapot: quantity}) for quantity in (1, 2, 3)])
    kinds = shop.atomic("orders").coordinator._kinds
    monkeypatch.setitem(kinds, "place_order", replace(place_order, commit=commit, commit_batch=None))
    shop.dispatch("orders", "place_order")
    shop.recover()
    assert [state for state, _ in ends(shop, "orders", begun)] == ["committed", "aborted", "committed"]
    assert reason(shop, "orders", begun[1]) == "not_two"


def test_nobody_is_forgotten_by_what_commits_together(
    shop: EagerShop, user: int, teapot: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forgetful(session: Session, placed: Any) -> Any:
        return place_order.commit_batch(session, dict(list(placed.items())[:-1]))  # type: ignore[misc]

    begun = all_placed(shop, (user, {teapot: 1}), (user, {teapot: 2}))
    kinds = shop.atomic("orders").coordinator._kinds
    monkeypatch.setitem(kinds, "place_order", replace(place_order, commit_batch=forgetful))
    shop.dispatch("orders", "place_order")
    shop.recover()
    assert [state for state, _ in ends(shop, "orders", begun)] == ["committed"] * 2
    assert list(shop.orders_of(user).values()) == ["open"] * 2


def test_a_change_that_fails_for_all_together_is_not_counted_against_each(
    shop: EagerShop, user: int, teapot: int
) -> None:
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
