"""Every rule of the shop that says no: the answer says which and where, and nothing has changed anywhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from eager_shop import Answer, EagerShop

from atomic_commit import Conflict, Missing, Refused


@contextmanager
def nothing_changes(shop: EagerShop) -> Iterator[None]:
    before = shop.rows()
    yield
    assert shop.rows() == before, shop.tell()


def refused(answer: Answer, reason: str, *, branch: str, field: str | None = None) -> dict[str, Any]:
    """A distributed call that was refused: by whom, why, and what in the request it is about."""
    problem = answer.problem(409, "refused")
    assert (problem["reason"], problem["branch"]) == (reason, branch), answer
    fields = [error["field"] for error in problem.get("errors", [])]
    assert fields == ([] if field is None else [field]), answer
    return problem


def aborted(shop: EagerShop, answer: Answer, service: str, reason: str, **expected: Any) -> dict[str, Any]:
    """The same where a branch refused, so that there was a transaction."""
    problem = refused(answer, reason, **expected)
    transaction = problem["transaction"]
    assert transaction == shop.transaction(service, transaction["id"]), answer
    assert (transaction["state"], transaction["settled"]) == ("aborted", True), answer
    assert transaction["cause"]["branch"] == problem["branch"], answer
    assert transaction["attempt"] == 1, "a refusal is final, it is not tried again"
    return problem


# ---- placing an order


def test_an_unknown_user_cannot_order(shop: EagerShop, teapot: int) -> None:
    with nothing_changes(shop):
        answer = shop.ask_to_place_order(4711, {teapot: 1})
    aborted(shop, answer, "orders", "unknown_user", branch="users.hold_active_user", field="user_id")


def test_a_user_who_is_being_removed_cannot_order(shop: EagerShop, user: int, teapot: int) -> None:
    shop.begin("users", "remove_user", user_id=user)
    with nothing_changes(shop):
        answer = shop.ask_to_place_order(user, {teapot: 1})
    aborted(shop, answer, "orders", "user_is_being_removed", branch="users.hold_active_user", field="user_id")
    shop.recover()
    assert shop.status_of_user(user) is None


def test_a_removed_user_cannot_order(shop: EagerShop, user: int, teapot: int) -> None:
    shop.remove_user(user).expect(200)
    answer = shop.ask_to_place_order(user, {teapot: 1})
    aborted(shop, answer, "orders", "unknown_user", branch="users.hold_active_user", field="user_id")


def test_an_unknown_product_cannot_be_ordered(shop: EagerShop, user: int, teapot: int) -> None:
    with nothing_changes(shop):
        answer = shop.ask_to_place_order(user, {teapot: 1, 4711: 1})
    aborted(shop, answer, "orders", "unknown_product", branch="products.take_stock", field="lines.1.product_id")


def test_more_than_there_is_cannot_be_ordered_and_the_line_is_named(shop: EagerShop, user: int, teapot: int) -> None:
    kettle = shop.add_product("kettle", stock=2)
    with nothing_changes(shop):
        answer = shop.ask_to_place_order(user, {teapot: 1, kettle: 3})
    problem = aborted(
        shop, answer, "orders", "insufficient_stock", branch="products.take_stock", field="lines.1.quantity"
    )
    assert problem["errors"][0]["pointer"] == "#/lines/1/quantity"
    assert problem["errors"][0]["in"] == "body"
    assert "2 in stock" in problem["detail"]
    assert "3 were ordered" in problem["detail"]


# ---- removing a user


def test_a_user_who_is_not_there_cannot_be_removed(shop: EagerShop) -> None:
    with nothing_changes(shop):
        problem = shop.remove_user(4711).problem(404, "not-found")
    assert problem["reason"] == "unknown_user"
    assert shop.get("users", "/transactions") == []


def test_a_user_cannot_be_removed_twice(shop: EagerShop, user: int) -> None:
    shop.remove_user(user).expect(200)
    shop.remove_user(user).problem(404, "not-found")


def test_a_user_is_not_removed_where_the_warehouse_has_no_room_for_what_comes_back(
    shop: EagerShop, user: int, teapot: int
) -> None:
    """The last step of three says no for a reason of the business, after the first two said yes."""
    vase = shop.add_product("vase", stock=5, capacity=5)
    order, other = shop.place_order(user, {vase: 3, teapot: 2}), shop.place_order(user, {teapot: 1})
    shop.adjust_stock(vase, 1).expect(200)  # 3 of 5 there, 3 held: one too many to come back
    with nothing_changes(shop):
        answer = shop.remove_user(user)
    problem = aborted(shop, answer, "users", "no_room", branch="products.restock")
    assert f"Product {vase}" in problem["detail"]
    assert shop.status_of_user(user) == "active"
    assert shop.orders_of(user) == {order: "open", other: "open"}
    assert shop.stock_of(teapot) == 7

    shop.adjust_stock(vase, -1).expect(200)
    shop.remove_user(user).expect(200)
    assert shop.orders_of(user) == {order: "cancelled", other: "cancelled"}


def test_a_user_whose_removal_was_refused_can_order_again(shop: EagerShop, user: int) -> None:
    vase = shop.add_product("vase", stock=1, capacity=1)
    shop.place_order(user, {vase: 1})
    shop.adjust_stock(vase, 1).expect(200)
    shop.remove_user(user).problem(409, "refused")
    shop.place_order(user, {vase: 1})
    shop.call("users", "PATCH", f"/users/{user}", {"name": "Ada again"}).expect(200)


def test_a_user_who_is_being_removed_cannot_be_removed_again_and_the_running_removal_is_named(
    shop: EagerShop, user: int
) -> None:
    record = shop.begin("users", "remove_user", user_id=user)
    with nothing_changes(shop):
        answer = shop.remove_user(user)
    problem = refused(answer, "user_is_being_removed", branch="users.remove_user")
    assert problem["transaction"]["id"] == str(record.id)
    assert problem["transaction"]["state"] == "preparing"
    shop.recover()


def test_a_user_who_is_being_removed_cannot_be_changed(shop: EagerShop, user: int) -> None:
    shop.begin("users", "remove_user", user_id=user)
    with nothing_changes(shop):
        answer = shop.call("users", "PATCH", f"/users/{user}", {"name": "Grace"})
    assert answer.problem(409, "refused")["reason"] == "user_is_being_removed"
    shop.recover()


# ---- cancelling and fulfilling an order


def test_an_order_that_is_not_there_cannot_be_cancelled(shop: EagerShop) -> None:
    assert shop.cancel(4711).problem(404, "not-found")["reason"] == "unknown_order"
    assert shop.get("orders", "/transactions") == []


@pytest.mark.parametrize("end", ["cancelled", "fulfilled"])
def test_an_order_that_is_over_can_neither_be_cancelled_nor_fulfilled(
    shop: EagerShop, user: int, teapot: int, end: str
) -> None:
    order = shop.place_order(user, {teapot: 2})
    (shop.cancel if end == "cancelled" else shop.fulfil)(order).expect(200)
    with nothing_changes(shop):
        refused(shop.cancel(order), f"order_is_{end}", branch="orders.cancel_order")
        assert shop.fulfil(order).problem(409, "refused")["reason"] == f"order_is_{end}"


def test_an_order_that_is_being_cancelled_can_neither_be_cancelled_again_nor_fulfilled(
    shop: EagerShop, user: int, teapot: int
) -> None:
    order = shop.place_order(user, {teapot: 2})
    record = shop.begin("orders", "cancel_order", order_id=order)
    with nothing_changes(shop):
        problem = refused(shop.cancel(order), "order_is_being_cancelled", branch="orders.cancel_order")
        assert problem["transaction"]["id"] == str(record.id)
        assert shop.fulfil(order).problem(409, "refused")["reason"] == "order_is_cancelling"
    shop.recover()
    assert shop.orders_of(user) == {order: "cancelled"}


def test_an_order_is_not_cancelled_where_its_goods_have_no_room(shop: EagerShop, user: int) -> None:
    vase = shop.add_product("vase", stock=5, capacity=5)
    order = shop.place_order(user, {vase: 3})
    shop.adjust_stock(vase, 1).expect(200)
    with nothing_changes(shop):
        answer = shop.cancel(order)
    aborted(shop, answer, "orders", "no_room", branch="products.restock")
    assert shop.orders_of(user) == {order: "open"}
    shop.fulfil(order).expect(200)


def test_goods_that_would_overflow_the_count_of_the_stock_have_no_room(shop: EagerShop, user: int) -> None:
    """A product without capacity holds at most what an integer of the database does."""
    most = 2**31 - 1
    pins = shop.add_product("pins", stock=most)
    order = shop.place_order(user, {pins: 1})
    shop.adjust_stock(pins, 1).expect(200)
    with nothing_changes(shop):
        answer = shop.cancel(order)
    aborted(shop, answer, "orders", "no_room", branch="products.restock")


def test_an_order_that_is_not_there_cannot_be_fulfilled(shop: EagerShop) -> None:
    shop.fulfil(4711).problem(404, "not-found")


# ---- what one service refuses by itself


@pytest.mark.parametrize("spelling", ["ada@shop.example", "ADA@shop.example", "Ada@Shop.Example"])
def test_an_e_mail_address_is_taken_once_however_it_is_spelt(shop: EagerShop, spelling: str) -> None:
    shop.add_user(email="ada@shop.example")
    grace = shop.add_user(email="grace@shop.example")
    with nothing_changes(shop):
        for answer in (
            shop.call("users", "POST", "/users", {"name": "Eve", "email": spelling}),
            shop.call("users", "PATCH", f"/users/{grace}", {"email": spelling}),
        ):
            problem = answer.problem(409, "refused")
            assert problem["reason"] == "email_taken", answer
            assert [error["field"] for error in problem["errors"]] == ["email"], answer


def test_stock_never_falls_below_zero(shop: EagerShop, teapot: int) -> None:
    with nothing_changes(shop):
        problem = shop.adjust_stock(teapot, -11).problem(409, "refused")
    assert problem["reason"] == "insufficient_stock"
    assert [error["field"] for error in problem["errors"]] == ["delta"]


def test_stock_never_rises_above_the_capacity(shop: EagerShop) -> None:
    vase = shop.add_product("vase", stock=5, capacity=6)
    with nothing_changes(shop):
        problem = shop.adjust_stock(vase, 2).problem(409, "refused")
    assert problem["reason"] == "no_room"
    assert [error["field"] for error in problem["errors"]] == ["delta"]
    shop.adjust_stock(vase, 1).expect(200)


def test_stock_never_rises_above_what_can_be_counted(shop: EagerShop) -> None:
    pins = shop.add_product("pins", stock=2**31 - 1)
    with nothing_changes(shop):
        assert shop.adjust_stock(pins, 1).problem(409, "refused")["reason"] == "no_room"


def test_a_capacity_below_the_stock_is_refused(shop: EagerShop, teapot: int) -> None:
    with nothing_changes(shop):
        problem = shop.call("products", "PATCH", f"/products/{teapot}", {"capacity": 9}).problem(409, "refused")
    assert problem["reason"] == "no_room"
    assert [error["field"] for error in problem["errors"]] == ["capacity"]


def test_a_new_product_does_not_begin_over_its_capacity(shop: EagerShop) -> None:
    body = {"name": "vase", "price": 1, "stock": 6, "capacity": 5}
    with nothing_changes(shop):
        problem = shop.call("products", "POST", "/products", body).problem(409, "refused")
    assert [error["field"] for error in problem["errors"]] == ["stock"]


@pytest.mark.parametrize(
    ("service", "method", "path", "body"),
    [
        ("users", "GET", "/users/4711", None),
        ("users", "PATCH", "/users/4711", {"name": "Ada"}),
        ("users", "DELETE", "/users/4711", None),
        ("products", "GET", "/products/4711", None),
        ("products", "PATCH", "/products/4711", {"price": 1}),
        ("products", "POST", "/products/4711/stock", {"delta": 1}),
        ("orders", "GET", "/orders/4711", None),
        ("orders", "POST", "/orders/4711/fulfil", None),
        ("orders", "POST", "/orders/4711/cancel", None),
        ("users", "GET", "/transactions/00000000-0000-4000-8000-000000000000", None),
        ("products", "GET", "/transactions/00000000-0000-4000-8000-000000000000", None),
    ],
)
def test_what_does_not_exist_is_answered_with_404(
    shop: EagerShop, service: str, method: str, path: str, body: dict[str, Any] | None
) -> None:
    with nothing_changes(shop):
        shop.call(service, method, path, body).problem(404, "not-found")


# ---- rows that somebody else has locked


def busy(answer: Answer) -> None:
    answer.problem(503, "conflict-busy")


@pytest.mark.parametrize("method", ["DELETE", "PATCH"])
def test_a_locked_user_is_waited_for_a_moment_and_then_the_client_is_asked_to_come_back(
    shop: EagerShop, user: int, method: str
) -> None:
    body = {"name": "Grace"} if method == "PATCH" else None
    with nothing_changes(shop), shop.locked("users", "SELECT 1 FROM users WHERE id = :id FOR UPDATE", id=user):
        busy(shop.call("users", method, f"/users/{user}", body))
    assert shop.get("users", "/transactions") == []
    assert shop.call("users", method, f"/users/{user}", body).expect(200)


def test_a_begin_that_meets_a_locked_row_waits_for_lock_timeout_and_says_so(
    shop: EagerShop, user: int, caplog: pytest.LogCaptureFixture
) -> None:
    """And not for the longer time that a statement may take. In the log: the client is told in other words."""
    with nothing_changes(shop), shop.locked("users", "SELECT 1 FROM users FOR UPDATE"):
        problem = shop.remove_user(user).problem(503, "conflict-busy")
    assert "lock timeout" in caplog.text
    assert problem["detail"] == "Nothing was changed: something else is at work on the same rows."
    assert shop.get("users", "/transactions") == []


@pytest.mark.parametrize("verb", ["cancel", "fulfil"])
def test_a_locked_order_is_waited_for_a_moment_and_then_the_client_is_asked_to_come_back(
    shop: EagerShop, user: int, teapot: int, verb: str
) -> None:
    order = shop.place_order(user, {teapot: 1})
    with nothing_changes(shop), shop.locked("orders", "SELECT 1 FROM orders WHERE id = :id FOR UPDATE", id=order):
        busy(shop.call("orders", "POST", f"/orders/{order}/{verb}"))
    shop.call("orders", "POST", f"/orders/{order}/{verb}").expect(200)


def test_a_locked_product_is_waited_for_a_moment_and_then_the_client_is_asked_to_come_back(
    shop: EagerShop, teapot: int
) -> None:
    with nothing_changes(shop), shop.locked("products", "SELECT 1 FROM products FOR UPDATE"):
        busy(shop.adjust_stock(teapot, 1))
        busy(shop.call("products", "PATCH", f"/products/{teapot}", {"price": 1}))
    shop.adjust_stock(teapot, 1).expect(200)


def test_an_e_mail_address_that_somebody_is_just_taking_is_waited_for(shop: EagerShop) -> None:
    taking = "INSERT INTO users (name, email) VALUES ('Ada', 'ada@shop.example')"
    with nothing_changes(shop), shop.locked("users", taking):
        busy(shop.call("users", "POST", "/users", {"name": "Eve", "email": "ada@shop.example"}))


def test_an_order_that_meets_a_locked_product_is_accepted_and_placed_when_the_lock_is_gone(
    shop: EagerShop, user: int, teapot: int
) -> None:
    with shop.locked("products", "SELECT 1 FROM products FOR UPDATE"):
        answer = shop.ask_to_place_order(user, {teapot: 3}, Prefer="respond-async").expect(202)
        transaction = shop.get("orders", answer.headers["Location"])
        assert transaction["state"] == "preparing", answer
        assert transaction["cause"]["cause"] == "conflict", answer
        assert transaction["attempt"] == 2, answer
    shop.recover()
    assert shop.get("orders", answer.headers["Location"])["state"] == "committed"
    assert shop.stock_of(teapot) == 7


def test_an_accepted_order_that_meets_nothing_but_locks_is_given_up_at_its_deadline_with_503(
    shop: EagerShop, user: int, teapot: int
) -> None:
    with shop.locked("products", "SELECT 1 FROM products FOR UPDATE"), ThreadPoolExecutor(1) as pool:
        client = pool.submit(shop.ask_to_place_order, user, {teapot: 3}, Prefer="wait=30")
        while not any("attempt 2" in words for words in shop.undecided().values()):
            assert not client.done(), client.result()
            time.sleep(0.01)
        shop.deadline_passes()
        shop.recover()
        problem = client.result().problem(503, "aborted")
    assert problem["branch"] == "products.take_stock"
    assert problem["reason"] == "conflict"
    assert problem["transaction"]["state"] == "aborted"
    assert shop.orders_of(user) == {}


# ---- "begin itself meets a locked row"; what is refused at the door


@pytest.mark.parametrize("how", ["missing", "refused", "locked"])
def test_a_begin_that_is_refused_leaves_nothing_behind(shop: EagerShop, user: int, how: str) -> None:
    arguments = {"user_id": 4711 if how == "missing" else user}
    if how == "refused":
        shop.begin("users", "remove_user", user_id=user)
    before = shop.everything()
    lock = shop.locked("users", f"SELECT 1 FROM users {'FOR UPDATE' if how == 'locked' else ''}")
    with lock, pytest.raises({"missing": Missing, "refused": Refused, "locked": Conflict}[how]):
        shop.atomic("users").begin("remove_user", arguments)
    assert shop.everything() == before
    shop.recover()
