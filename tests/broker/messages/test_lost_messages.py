"""FLUSHALL (and on RabbitMQ a purge of every queue) in the middle: messages and results are hints, the rows are not."""

from __future__ import annotations

from tests.broker.shopkeeper import ASYNC, Shopkeeper
from tests.broker.waiting import wait_until


def test_a_removal_whose_decision_and_votes_are_lost_is_tried_again_and_ends_whole(shop: Shopkeeper) -> None:
    ada, tea = shop.add_user(), shop.add_product(stock=10)
    order = shop.placed_order(ada, {tea: 3})
    with shop.down("users-outcome-worker"):
        answer = shop.remove_user(ada, **ASYNC)
        shop.wait_prepared(answer, 2)
        shop.lose_every_message()
    assert shop.settled(answer) == "committed"
    assert shop.row(answer)["attempt"] == 2, "votes that nobody can read any more are silence"
    assert (shop.user_status(ada), shop.order_status(order), shop.stock_of(tea)) == (None, "cancelled", 10)


def test_a_removal_that_waits_in_its_second_branch_when_everything_is_lost_ends_whole(shop: Shopkeeper) -> None:
    ada, tea = shop.add_user(), shop.add_product(stock=10)
    order = shop.placed_order(ada, {tea: 3})
    with shop.held("products", "products", tea) as lock:
        answer = shop.remove_user(ada, **ASYNC)
        shop.wait_for_waiter(lock)
        shop.lose_every_message()
    assert shop.settled(answer) == "committed"
    assert (shop.user_status(ada), shop.order_status(order), shop.stock_of(tea)) == (None, "cancelled", 10)


def test_a_cancellation_that_waits_in_its_branch_when_everything_is_lost_ends_whole(shop: Shopkeeper) -> None:
    ada, tea = shop.add_user(), shop.add_product(stock=10)
    order = shop.placed_order(ada, {tea: 3})
    with shop.held("products", "products", tea) as lock:
        answer = shop.cancel(order, **ASYNC)
        shop.wait_for_waiter(lock)
        shop.lose_every_message()
    assert shop.settled(answer) == "committed"
    assert (shop.order_status(order), shop.stock_of(tea)) == ("cancelled", 10)


def test_outcomes_that_are_lost_after_the_decision_are_sent_again(shop: Shopkeeper) -> None:
    ada, tea = shop.add_user(), shop.add_product(stock=10)
    order = shop.placed_order(ada, {tea: 3})
    with shop.down("products-outcome-worker", "orders-outcome-worker"):
        answer = shop.remove_user(ada, **ASYNC)
        assert shop.decided(answer) == "committed"
        assert len(shop.prepared(answer)) == 2
        shop.lose_every_message()
    wait_until(lambda: not shop.prepared(answer), "both branches are told again")
    assert shop.settled(answer) == "committed"
    assert (shop.order_status(order), shop.stock_of(tea)) == ("cancelled", 10)


def test_requests_in_a_row_with_everything_lost_between_them_are_all_done(shop: Shopkeeper) -> None:
    ada, tea = shop.add_user(), shop.add_product(stock=10)
    placings = []
    for _ in range(6):
        placings.append(shop.place_order(ada, {tea: 1}, **ASYNC))
        shop.lose_every_message()
    assert [shop.settled(placing) for placing in placings] == ["committed"] * 6
    assert (len(shop.orders_of(ada, "open")), shop.stock_of(tea)) == (6, 4)
