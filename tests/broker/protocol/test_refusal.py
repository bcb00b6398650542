"""Every step may say no, and a no changes nothing anywhere."""

from __future__ import annotations

from tests.broker.http_calls import Answer
from tests.broker.shopkeeper import ASYNC, Shopkeeper


def assert_refused(answer: Answer, branch: str, reason: str) -> None:
    """409 that says who refused, why, and in which transaction."""
    assert answer.status == 409, answer
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert (answer.body["type"], answer.body["branch"], answer.body["reason"]) == ("/problems/refused", branch, reason)


def assert_aborted_as_a_whole(shop: Shopkeeper, answer: Answer) -> None:
    """The transaction was accepted, decided against at its first attempt, and every branch of it rolled back."""
    assert shop.settled(answer) == "aborted"
    branches = shop.branches(answer)
    assert {branch["outcome"] for branch in branches} == {"rollback"}
    assert {branch["attempt"] for branch in branches} == {1}


def test_an_order_for_an_unknown_user_is_refused_by_users(shop: Shopkeeper) -> None:
    tea, nobody = shop.add_product(), 2_000_000_000
    before = shop.everything()
    answer = shop.place_order(nobody, {tea: 1})
    assert_refused(answer, "users.hold_active_user", "unknown_user")
    assert_aborted_as_a_whole(shop, answer)
    assert shop.everything() == before


def test_an_order_for_a_user_who_is_being_removed_is_refused_by_users(shop: Shopkeeper) -> None:
    ada, tea = shop.add_user(), shop.add_product()
    with shop.down("users-outcome-worker"):
        removal = shop.remove_user(ada, **ASYNC)
        shop.wait_prepared(removal, 2)
        before = shop.everything()
        answer = shop.place_order(ada, {tea: 1})
        assert_refused(answer, "users.hold_active_user", "user_is_being_removed")
        assert shop.decided(answer) == "aborted"
        assert shop.everything() == before
    assert shop.settled(removal) == "committed"


def test_an_order_beyond_the_stock_is_refused_by_products(shop: Shopkeeper) -> None:
    ada, tea, cups = shop.add_user(), shop.add_product("Tea", stock=5), shop.add_product("Cups", stock=2)
    before = shop.everything()
    answer = shop.place_order(ada, {tea: 5, cups: 3})
    assert_refused(answer, "products.take_stock", "insufficient_stock")
    assert answer.body["errors"][0]["field"] == "lines.1.quantity"
    assert_aborted_as_a_whole(shop, answer)
    assert shop.everything() == before


def test_an_order_of_an_unknown_product_is_refused_by_products(shop: Shopkeeper) -> None:
    ada, tea = shop.add_user(), shop.add_product()
    before = shop.everything()
    answer = shop.place_order(ada, {tea: 1, 2_000_000_000: 1})
    assert_refused(answer, "products.take_stock", "unknown_product")
    assert_aborted_as_a_whole(shop, answer)
    assert shop.everything() == before


def test_a_cancellation_whose_goods_do_not_fit_is_refused_by_products_and_the_order_stays_open(
    shop: Shopkeeper,
) -> None:
    ada, tea = shop.add_user(), shop.add_product(stock=10, capacity=10)
    order = shop.placed_order(ada, {tea: 3})
    shop.deliver(tea, 3)
    before = shop.everything()
    answer = shop.cancel(order)
    assert_refused(answer, "products.restock", "no_room")
    assert_aborted_as_a_whole(shop, answer)
    assert shop.everything() == before


def test_a_removal_whose_goods_do_not_fit_is_refused_by_products_after_orders_said_yes(shop: Shopkeeper) -> None:
    ada, tea, cups = shop.add_user(), shop.add_product("Tea", capacity=10), shop.add_product("Cups")
    shop.placed_order(ada, {tea: 1})
    shop.placed_order(ada, {cups: 2})
    shop.deliver(tea, 1)
    before = shop.everything()
    answer = shop.remove_user(ada)
    assert_refused(answer, "products.restock", "no_room")
    votes = {branch["name"]: branch["vote"] for branch in answer.body["transaction"]["branches"]}
    assert votes == {"orders.cancel_user_orders": "yes", "products.restock": "no"}
    assert_aborted_as_a_whole(shop, answer)
    assert shop.everything() == before
    assert shop.user_status(ada) == "active"


def test_a_refused_removal_can_be_repeated_once_there_is_room(shop: Shopkeeper) -> None:
    ada, tea = shop.add_user(), shop.add_product(stock=10, capacity=10)
    shop.placed_order(ada, {tea: 3})
    shop.deliver(tea, 3)
    assert shop.remove_user(ada).status == 409
    shop.deliver(tea, -3)
    assert shop.remove_user(ada).status == 200
    assert (shop.user_status(ada), shop.stock_of(tea)) == (None, 10)


def test_an_order_that_is_being_cancelled_can_not_be_cancelled_again(shop: Shopkeeper) -> None:
    ada, tea = shop.add_user(), shop.add_product()
    order = shop.placed_order(ada, {tea: 1})
    with shop.down("orders-outcome-worker"):
        first = shop.cancel(order, **ASYNC)
        shop.wait_prepared(first, 1)
        before = shop.everything()
        second = shop.cancel(order)
        assert_refused(second, "orders.cancel_order", "order_is_being_cancelled")
        assert second.transaction == first.transaction
        assert shop.everything() == before
    assert shop.settled(first) == "committed"
    assert_refused(shop.cancel(order), "orders.cancel_order", "order_is_cancelled")


def test_what_does_not_exist_is_not_found_and_begins_nothing(shop: Shopkeeper) -> None:
    before = shop.everything()
    nobody, nothing = shop.remove_user(2_000_000_000), shop.cancel(2_000_000_000)
    assert (nobody.status, nobody.body["reason"]) == (404, "unknown_user")
    assert (nothing.status, nothing.body["reason"]) == (404, "unknown_order")
    assert shop.everything() == before
