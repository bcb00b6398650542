"""Something is down when the request comes: it is accepted, and done once that something is back."""

from __future__ import annotations

import pytest

from tests.broker.http_calls import Answer
from tests.broker.shopkeeper import BRANCH_WORKERS, WORKERS, Shopkeeper

#: A client who is patient for a second.
A_SECOND = {"Prefer": "wait=1"}


def assert_accepted_in_time(answer: Answer, wait: float) -> None:
    """202, and soon after the time that the client granted."""
    assert answer.status == 202, answer
    assert answer.headers["Location"] == f"/transactions/{answer.transaction}"
    assert answer.seconds < wait + 3, answer


def test_what_is_asked_while_the_broker_is_down_is_accepted_and_done_when_it_is_back(shop: Shopkeeper) -> None:
    ada, bob, tea = shop.add_user("Ada"), shop.add_user("Bob"), shop.add_product(stock=10)
    order = shop.placed_order(bob, {tea: 2})
    shop.placed_order(ada, {tea: 3})
    with shop.down(shop.broker, kill=True):
        removal, placing, cancellation = (
            shop.remove_user(ada, **A_SECOND),
            shop.place_order(bob, {tea: 1}, **A_SECOND),
            shop.cancel(order, **A_SECOND),
        )
        for answer in (removal, placing, cancellation):
            assert_accepted_in_time(answer, wait=1)
    assert [shop.settled(answer) for answer in (removal, placing, cancellation)] == ["committed"] * 3
    assert (shop.user_status(ada), shop.order_status(order), shop.stock_of(tea)) == (None, "cancelled", 9)
    assert len(shop.orders_of(bob, "open")) == 1


def test_a_client_of_usual_patience_is_answered_well_within_ten_seconds_though_the_broker_is_down(
    shop: Shopkeeper,
) -> None:
    ada = shop.add_user()
    with shop.down(shop.broker):
        answer = shop.remove_user(ada)
        assert_accepted_in_time(answer, wait=5)
        assert shop.user_status(ada) == "removing"
    assert shop.settled(answer) == "committed"
    assert shop.user_status(ada) is None


def test_what_is_asked_while_the_broker_hangs_is_accepted_in_bounded_time(shop: Shopkeeper) -> None:
    """Frozen, it keeps its connections open and answers nothing: the socket's own time limits have to end the wait."""
    ada = shop.add_user()
    with shop.frozen(shop.broker):
        answer = shop.remove_user(ada, **A_SECOND)
        assert answer.status == 202, answer
    assert shop.settled(answer) == "committed"
    assert answer.seconds < 13, answer


def test_a_removal_asked_while_every_worker_is_down_is_done_when_they_are_back(shop: Shopkeeper) -> None:
    ada, tea = shop.add_user(), shop.add_product(stock=10)
    order = shop.placed_order(ada, {tea: 3})
    with shop.down(*WORKERS):
        answer = shop.remove_user(ada, **A_SECOND)
        assert_accepted_in_time(answer, wait=1)
        assert (shop.user_status(ada), shop.order_status(order), shop.stock_of(tea)) == ("removing", "open", 7)
    assert shop.settled(answer) == "committed"
    assert (shop.user_status(ada), shop.order_status(order), shop.stock_of(tea)) == (None, "cancelled", 10)


@pytest.mark.parametrize("worker", BRANCH_WORKERS)
def test_what_needs_a_worker_that_is_down_is_done_when_it_is_back(shop: Shopkeeper, worker: str) -> None:
    ada, bob, tea = shop.add_user("Ada"), shop.add_user("Bob"), shop.add_product(stock=10)
    order = shop.placed_order(ada, {tea: 3})
    with shop.down(worker, kill=True):
        answer = {
            "users-worker": lambda: shop.place_order(bob, {tea: 1}, **A_SECOND),
            "products-worker": lambda: shop.cancel(order, **A_SECOND),
            "orders-worker": lambda: shop.remove_user(ada, **A_SECOND),
        }[worker]()
        assert_accepted_in_time(answer, wait=1)
    assert shop.settled(answer) == "committed"


def test_orders_of_a_user_are_placed_and_cancelled_though_flower_is_down(shop: Shopkeeper) -> None:
    ada, tea = shop.add_user(), shop.add_product()
    with shop.down("flower", kill=True):
        assert shop.cancel(shop.placed_order(ada, {tea: 1})).status == 200


def test_what_is_asked_while_the_database_is_down_is_not_accepted_and_can_be_repeated_under_its_key(
    shop: Shopkeeper,
) -> None:
    ada, tea = shop.add_user(), shop.add_product(stock=10)
    key = {"Idempotency-Key": f"removal-of-{ada}-{tea}"}
    shop.placed_order(ada, {tea: 3})
    with shop.down("postgres", kill=True):
        answer = shop.remove_user(ada, **key)
        assert (answer.status, answer.body["type"]) == (503, "/problems/unavailable")
        assert answer.headers["Retry-After"]
        assert answer.seconds < 10, answer
    assert shop.settled(shop.remove_user(ada, **key)) == "committed"
    assert (shop.user_status(ada), shop.stock_of(tea)) == (None, 10)


def test_what_can_not_be_done_by_its_deadline_is_given_up_as_a_whole(shop: Shopkeeper) -> None:
    ada, tea = shop.add_user(), shop.add_product(stock=10)
    order = shop.placed_order(ada, {tea: 3})
    # restock meets the held row again and again
    with shop.held("products", "products", tea), shop.with_settings("users-api", ATOMIC_DEADLINE="4"):
        answer = shop.remove_user(ada, Prefer="wait=20")
    assert (answer.status, answer.body["type"]) == (503, "/problems/aborted"), answer
    assert answer.headers["Retry-After"]
    assert shop.settled(answer) == "aborted"
    assert (shop.user_status(ada), shop.order_status(order), shop.stock_of(tea)) == ("active", "open", 7)
