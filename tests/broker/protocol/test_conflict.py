"""Two transactions that meet: neither is skipped, the later one tries again."""

from __future__ import annotations

from tests.broker.shopkeeper import ASYNC, Shopkeeper
from tests.broker.waiting import wait_until


def test_a_removal_that_meets_an_order_being_cancelled_commits_in_a_later_attempt(shop: Shopkeeper) -> None:
    ada, tea = shop.add_user(), shop.add_product(stock=10)
    order = shop.placed_order(ada, {tea: 4})
    with shop.held("products", "products", tea) as lock:
        cancellation = shop.cancel(order, **ASYNC)
        shop.wait_for_waiter(lock)
        removal = shop.remove_user(ada, **ASYNC)
        wait_until(lambda: shop.row(removal)["attempt"] > 1, "the removal's first attempt is given up")
        assert shop.row(removal)["cause"]["cause"] == "conflict"
        assert (shop.order_status(order), shop.user_status(ada)) == ("cancelling", "removing")
    assert shop.settled(removal) == "committed"
    assert shop.settled(cancellation) == "committed"
    assert (shop.order_status(order), shop.user_status(ada), shop.stock_of(tea)) == ("cancelled", None, 10)


def test_no_identifier_of_an_attempt_is_used_again(shop: Shopkeeper) -> None:
    ada, tea = shop.add_user(), shop.add_product()
    order = shop.placed_order(ada, {tea: 1})
    with shop.held("products", "products", tea):
        cancellation = shop.cancel(order, **ASYNC)
        removal = shop.remove_user(ada, **ASYNC)
        wait_until(lambda: shop.row(removal)["attempt"] > 2, "the removal is at its third attempt")
    assert shop.settled(removal) == "committed"
    assert shop.settled(cancellation) == "committed"
    branches = shop.branches(removal) + shop.branches(cancellation)
    assert len({branch["task_id"] for branch in branches}) == len(branches)
    last = shop.row(removal)["attempt"]
    outcomes = {(branch["attempt"] == last, branch["outcome"]) for branch in shop.branches(removal)}
    assert outcomes == {(False, "rollback"), (True, "commit")}
    assert all(branch["settled_at"] for branch in branches), "every attempt is settled, the given-up ones too"


def test_an_order_that_is_being_placed_and_a_removal_of_its_user_leave_no_open_order(shop: Shopkeeper) -> None:
    """The order's branch holds the user, and the removal's begin, which must write that row, waits: either the order
    is placed and then taken along, or the removal comes first and the order is refused."""
    ada, tea = shop.add_user(), shop.add_product(stock=10)
    with shop.held("products", "products", tea) as lock:
        placing = shop.place_order(ada, {tea: 1}, **ASYNC)
        shop.wait_for_waiter(lock)
        removal = shop.remove_user(ada, **ASYNC)
    assert removal.status in (202, 503), removal
    placed = shop.settled(placing)
    assert placed == "committed" or shop.row(placing)["cause"]["reason"] in ("unknown_user", "user_is_being_removed")
    if removal.status == 503:
        assert removal.headers["Retry-After"]
        removal = shop.remove_user(ada)
    assert shop.settled(removal) == "committed"
    assert (shop.orders_of(ada, "open"), shop.stock_of(tea)) == ([], 10)
