"""``kill -9`` in the middle: whatever dies, and whenever, what was accepted is done as a whole."""

from __future__ import annotations

import http.client
import signal

import pytest

from tests.broker.http_calls import Answer
from tests.broker.shopkeeper import ASYNC, Shopkeeper
from tests.broker.waiting import Meanwhile, wait_until


class Scene:
    """Ada has an order for three of ten."""

    def __init__(self, shop: Shopkeeper) -> None:
        self.shop = shop
        self.ada, self.tea = shop.add_user(), shop.add_product(stock=10)
        self.order = shop.placed_order(self.ada, {self.tea: 3})

    def assert_removed_as_a_whole(self, removal: Answer) -> None:
        assert self.shop.settled(removal) == "committed"
        seen = self.shop.user_status(self.ada), self.shop.order_status(self.order), self.shop.stock_of(self.tea)
        assert seen == (None, "cancelled", 10)


@pytest.fixture
def scene(shop: Shopkeeper) -> Scene:
    return Scene(shop)


def test_the_orders_worker_killed_in_the_middle_of_its_branch(scene: Scene, shop: Shopkeeper) -> None:
    with shop.held("orders", "orders", scene.order) as lock:
        removal = shop.remove_user(scene.ada, **ASYNC)
        shop.wait_for_waiter(lock)
        shop.kill("orders-worker")
    scene.assert_removed_as_a_whole(removal)


def test_the_products_worker_killed_in_the_middle_of_its_branch(scene: Scene, shop: Shopkeeper) -> None:
    with shop.held("products", "products", scene.tea) as lock:
        removal = shop.remove_user(scene.ada, **ASYNC)
        shop.wait_for_waiter(lock)
        shop.kill("products-worker")
    scene.assert_removed_as_a_whole(removal)


def test_the_users_worker_killed_in_the_middle_of_its_branch(shop: Shopkeeper) -> None:
    ada, tea = shop.add_user(), shop.add_product(stock=10)
    with shop.held("users", "users", ada) as lock:
        placing = shop.place_order(ada, {tea: 3}, **ASYNC)
        shop.wait_for_waiter(lock)
        shop.kill("users-worker")
    assert shop.settled(placing) == "committed"
    assert (len(shop.orders_of(ada, "open")), shop.stock_of(tea)) == (1, 7)


def test_the_users_outcome_worker_killed_in_the_middle_of_its_decision(scene: Scene, shop: Shopkeeper) -> None:
    with shop.held("orders", "orders", scene.order):
        removal = shop.remove_user(scene.ada, **ASYNC)  # the mark is made before the user's row is held below
        lock = shop.held("users", "users", scene.ada)
        held = lock.__enter__()
    try:
        shop.wait_for_waiter(held)
        assert len(shop.prepared(removal)) == 2
        shop.kill("users-outcome-worker")
    finally:
        lock.__exit__(None, None, None)
    scene.assert_removed_as_a_whole(removal)


@pytest.mark.parametrize("worker", ["orders-outcome-worker", "products-outcome-worker"])
def test_an_outcome_worker_killed_before_it_heard_the_decision(scene: Scene, shop: Shopkeeper, worker: str) -> None:
    with shop.down(worker, kill=True):
        removal = shop.remove_user(scene.ada, **ASYNC)
        assert shop.decided(removal) == "committed"
        assert len(wait_until(lambda: shop.prepared(removal), "a branch is in doubt")) >= 1
    scene.assert_removed_as_a_whole(removal)


def test_the_users_api_killed_while_its_client_waits(scene: Scene, shop: Shopkeeper) -> None:
    with shop.held("orders", "orders", scene.order) as lock:
        with Meanwhile(lambda: shop.remove_user(scene.ada)) as request:
            shop.wait_for_waiter(lock)
            shop.kill("users-api")
            with pytest.raises((OSError, http.client.HTTPException)):
                request.result()
        shop.wait_ready("users-api")
    removed = lambda: shop.user_status(scene.ada) is None  # noqa: E731
    wait_until(removed, "the user is removed though nobody waits for it any more")
    shop.assert_whole()
    assert (shop.order_status(scene.order), shop.stock_of(scene.tea)) == ("cancelled", 10)


def test_every_worker_killed_in_the_middle_of_a_branch(scene: Scene, shop: Shopkeeper) -> None:
    with shop.held("products", "products", scene.tea) as lock:
        removal = shop.remove_user(scene.ada, **ASYNC)
        shop.wait_for_waiter(lock)
        for worker in ("orders-worker", "products-worker", "users-outcome-worker", "products-outcome-worker"):
            shop.kill(worker)
    scene.assert_removed_as_a_whole(removal)


def test_the_broker_killed_in_the_middle_of_a_branch(scene: Scene, shop: Shopkeeper) -> None:
    with shop.held("products", "products", scene.tea) as lock:
        removal = shop.remove_user(scene.ada, **ASYNC)
        shop.wait_for_waiter(lock)
        shop.kill(shop.broker)
    scene.assert_removed_as_a_whole(removal)


def test_the_broker_killed_in_the_middle_of_a_late_attempt_is_no_reason_to_give_up(
    scene: Scene, shop: Shopkeeper
) -> None:
    """The branch prepares and can't hand on to the next link: a fault of the machinery. The attempts before it ended in
    conflicts, which count for nothing: what was accepted is still done."""
    with shop.held("products", "products", scene.tea) as lock:
        removal = shop.remove_user(scene.ada, **ASYNC)
        wait_until(lambda: shop.row(removal)["attempt"] >= 3, "two attempts met the held row")
        shop.wait_for_waiter(lock)
        shop.shop.hold_down(shop.broker, kill=True)
    prepared = lambda: any("restock" in gid for gid in shop.prepared(removal))  # noqa: E731
    wait_until(prepared, "the last branch is prepared while the broker is down", within=10)
    shop.shop.bring_up(shop.broker)
    scene.assert_removed_as_a_whole(removal)


def test_the_result_backend_killed_in_the_middle_of_a_branch(scene: Scene, shop: Shopkeeper) -> None:
    with shop.held("products", "products", scene.tea) as lock:
        removal = shop.remove_user(scene.ada, **ASYNC)
        shop.wait_for_waiter(lock)
        shop.kill("redis")
    scene.assert_removed_as_a_whole(removal)


def test_postgres_killed_in_the_middle_of_a_branch(scene: Scene, shop: Shopkeeper) -> None:
    with shop.held("products", "products", scene.tea) as lock:
        removal = shop.remove_user(scene.ada, **ASYNC)
        shop.wait_for_waiter(lock)
        shop.kill("postgres")
    shop.wait_ready("postgres")
    scene.assert_removed_as_a_whole(removal)


def test_postgres_killed_while_branches_are_prepared(scene: Scene, shop: Shopkeeper) -> None:
    with shop.down("users-outcome-worker"):
        removal = shop.remove_user(scene.ada, **ASYNC)
        before = shop.wait_prepared(removal, 2)
        shop.kill("postgres")
        shop.wait_ready("postgres")
        assert shop.prepared(removal) == before, "a prepared transaction survives the server's death"
    scene.assert_removed_as_a_whole(removal)


def test_a_client_who_waits_while_postgres_dies_gets_an_answer_that_is_no_lie(scene: Scene, shop: Shopkeeper) -> None:
    with Meanwhile(lambda: shop.remove_user(scene.ada, Prefer="wait=15")) as request:
        wait_until(lambda: shop.user_status(scene.ada) != "active", "the removal is accepted", every=0.001)
        shop.kill("postgres")
        answer = request.result()
    shop.wait_ready("postgres")
    assert isinstance(answer, Answer)
    assert answer.status in (200, 202, 503), answer
    wait_until(lambda: shop.user_status(scene.ada) is None, "the accepted removal is done")
    shop.assert_whole()
    assert (shop.order_status(scene.order), shop.stock_of(scene.tea)) == ("cancelled", 10)


def test_a_worker_told_to_stop_finishes_its_branch_first(scene: Scene, shop: Shopkeeper) -> None:
    with shop.held("products", "products", scene.tea) as lock:
        removal = shop.remove_user(scene.ada, **ASYNC)
        shop.wait_for_waiter(lock)
        shop.shop.signal("products-worker", signal.SIGTERM)
    scene.assert_removed_as_a_whole(removal)
    assert shop.row(removal)["attempt"] == 1, "nothing was lost, so nothing was tried again"


def test_an_api_told_to_stop_answers_who_waits_first(scene: Scene, shop: Shopkeeper) -> None:
    with shop.held("orders", "orders", scene.order) as lock:
        request = Meanwhile(lambda: shop.remove_user(scene.ada))
        shop.wait_for_waiter(lock)
        shop.shop.signal("users-api", signal.SIGTERM)
    answer = request.result()
    assert isinstance(answer, Answer)
    assert answer.status == 200, answer
    shop.wait_ready("users-api")
    scene.assert_removed_as_a_whole(answer)
