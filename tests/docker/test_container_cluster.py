"""The shop's real image as a pytest-celery cluster: six workers, on each broker, with containers lost in the middle."""

from __future__ import annotations

import pytest
from pytest_celery import CeleryTestSetup, CeleryTestWorker

from embedded.driver import ASYNC
from tests.broker.shopkeeper import Shopkeeper
from tests.docker.cluster import Cluster
from tests.installation import INSTALLATION, QUEUE_NAMES

#: How long a branch is held where a test wants it: longer than any test, so that only the test's own blow ends it.
HELD = "delay 600"


def worker(setup: CeleryTestSetup, queue: str) -> CeleryTestWorker:
    return next(node for node in setup.worker_cluster if node.worker_queue == queue)


def test_the_cluster_is_the_shop_of_these_containers(celery_setup: CeleryTestSetup, cluster: Cluster) -> None:
    assert celery_setup.app.conf.broker_url == cluster.broker_url
    assert celery_setup.app.conf.result_backend == cluster.result_backend_url
    assert {node.worker_queue for node in celery_setup.worker_cluster} == set(QUEUE_NAMES)
    answers = celery_setup.app.control.ping(timeout=5)
    assert len(answers) == 6, answers
    assert celery_setup.ready(control=True)


def test_a_removal_commits_in_every_service(celery_setup: CeleryTestSetup, shop: Shopkeeper) -> None:
    ada, tea = shop.add_user(), shop.add_product(stock=10)
    order = shop.placed_order(ada, {tea: 3})
    assert shop.stock_of(tea) == 7
    removal = shop.remove_user(ada, Prefer="wait=30")
    assert removal.status == 200, removal
    assert shop.settled(removal) == "committed"
    assert (shop.user_status(ada), shop.order_status(order), shop.stock_of(tea)) == (None, "cancelled", 10)
    for branch in shop.branches(removal):
        assert celery_setup.app.AsyncResult(branch["task_id"]).get(timeout=10)["prepared"]
        worker(celery_setup, INSTALLATION.branch_queue(branch["name"].split(".")[0])).assert_log_exists(
            branch["task_id"]
        )


def test_a_removal_that_is_refused_changes_nothing_anywhere(celery_setup: CeleryTestSetup, shop: Shopkeeper) -> None:
    ada, tea = shop.add_user(), shop.add_product(stock=10, capacity=10)
    shop.placed_order(ada, {tea: 3})
    shop.deliver(tea, 3)  # now the warehouse is full, and what comes back finds no room
    before = shop.everything()
    removal = shop.remove_user(ada, Prefer="wait=30")
    assert (removal.status, removal.body["branch"]) == (409, "products.restock"), removal
    assert shop.settled(removal) == "aborted"
    assert shop.everything() == before
    assert {branch["outcome"] for branch in shop.branches(removal)} == {"rollback"}
    refused = next(branch for branch in shop.branches(removal) if branch["name"] == "products.restock")
    assert celery_setup.app.AsyncResult(refused["task_id"]).status == "FAILURE"


@pytest.mark.parametrize(("point", "prepared"), [("prepare.after_function", 1), ("prepare.after_prepare", 2)])
def test_a_removal_commits_though_a_branch_workers_container_is_killed_in_the_middle(
    celery_setup: CeleryTestSetup, cluster: Cluster, shop: Shopkeeper, point: str, prepared: int
) -> None:
    ada, tea = shop.add_user(), shop.add_product(stock=10)
    order = shop.placed_order(ada, {tea: 3})
    cluster.arm("products-worker", point, HELD)
    removal = shop.remove_user(ada, **ASYNC)
    cluster.wait_fired("products-worker", point)
    products = worker(celery_setup, INSTALLATION.branch_queue("products"))
    assert len(shop.prepared(removal)) == prepared
    products.kill()
    assert products.container.status == "exited"
    assert shop.row(removal)["state"] == "preparing"
    products.restart()
    assert shop.settled(removal) == "committed"
    if prepared == 2:
        # Its proof died with it. (Killed earlier, the branch is rolled back, and its message may be delivered again
        # before anybody has missed it: the same attempt goes on.)
        assert shop.row(removal)["attempt"] > 1
    assert (shop.user_status(ada), shop.order_status(order), shop.stock_of(tea)) == (None, "cancelled", 10)


def test_a_removal_commits_though_the_brokers_container_is_restarted_in_the_middle(
    celery_setup: CeleryTestSetup, cluster: Cluster, shop: Shopkeeper
) -> None:
    ada, tea = shop.add_user(), shop.add_product(stock=10)
    order = shop.placed_order(ada, {tea: 3})
    cluster.arm("products-worker", "prepare.after_function", "delay 5")
    removal = shop.remove_user(ada, **ASYNC)
    cluster.wait_fired("products-worker", "prepare.after_function")
    assert len(shop.prepared(removal)) == 1
    celery_setup.broker.restart()
    assert shop.settled(removal) == "committed"
    assert (shop.user_status(ada), shop.order_status(order), shop.stock_of(tea)) == (None, "cancelled", 10)
    later = shop.remove_user(shop.add_user("Bob"), Prefer="wait=30")
    assert shop.settled(later) == "committed", "everybody has found the broker again"
