"""The same shop as a pytest-celery cluster: its broker, backend, worker and setup classes around our processes.

pytest-celery expects Docker containers, but all that its nodes ask of one is what `ShopProcess` answers. Its fixtures
are overridden here and not in conftest.py, so that no other test meets them.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from celery import Celery
from pytest_celery import (
    CeleryBackendCluster,
    CeleryBrokerCluster,
    CeleryTestBackend,
    CeleryTestBroker,
    CeleryTestSetup,
    CeleryTestWorker,
    CeleryWorkerCluster,
)

from embedded.driver import ASYNC
from tests.broker.shop_setup import ShopSetup
from tests.broker.shopkeeper import WORKERS, Shopkeeper
from tests.installation import INSTALLATION


class ShopProcess:
    """What CeleryTestNode asks of a container, answered by a process of the running shop."""

    def __init__(self, shop: Shopkeeper, name: str, url: str = "", queue: str = "") -> None:
        self.name = self.id = name
        self._shop, self._url, self._queue = shop.shop, url, queue
        self.status = "running"

    @property
    def celeryconfig(self) -> dict[str, str]:
        return {"url": self._url, "host_url": self._url}

    def ready(self) -> bool:
        self._shop.wait_ready(self.name)
        return True

    def logs(self) -> str:
        return self._shop.log_of(self.name)

    def kill(self, signal: str | int = "SIGKILL") -> None:
        self._shop.hold_down(self.name, kill=signal == "SIGKILL")
        self.status = "exited"

    def reload(self) -> None:
        """Nothing is cached here."""

    def restart(self, timeout: float = 60) -> None:
        if self.status == "running":
            self.kill("SIGTERM")
        self._shop.bring_up(self.name, timeout=timeout)
        self.status = "running"

    def teardown(self) -> None:
        """The shop outlives the test."""

    def worker_name(self) -> str:
        return self.name

    def worker_queue(self) -> str:
        return self._queue


@pytest.fixture
def celery_setup_cls() -> type[CeleryTestSetup]:
    return ShopSetup


@pytest.fixture
def celery_broker_cluster(shop: Shopkeeper) -> CeleryBrokerCluster:
    return CeleryBrokerCluster(CeleryTestBroker(ShopProcess(shop, shop.broker, shop.shop.broker_url)))


@pytest.fixture
def celery_backend_cluster(shop: Shopkeeper) -> CeleryBackendCluster:
    return CeleryBackendCluster(CeleryTestBackend(ShopProcess(shop, "redis", shop.shop.result_backend_url)))


@pytest.fixture
def celery_worker_cluster(shop: Shopkeeper, celery_setup_app: Celery) -> Iterator[CeleryWorkerCluster]:
    def node(name: str) -> CeleryTestWorker:
        queue = f"{INSTALLATION}.{name.replace('-outcome-worker', '.outcome').replace('-worker', '')}"
        return CeleryTestWorker(ShopProcess(shop, name, queue=queue), celery_setup_app)

    yield CeleryWorkerCluster(*(node(name) for name in WORKERS))
    celery_setup_app.close()


def worker(setup: CeleryTestSetup, queue: str) -> CeleryTestWorker:
    return next(node for node in setup.worker_cluster if node.worker_queue == queue)


def test_the_cluster_is_the_shop_that_runs_here(celery_setup: CeleryTestSetup, shop: Shopkeeper) -> None:
    """Where /.dockerenv exists, pytest-celery's own containers talk to whatever listens on the usual port."""
    assert celery_setup.app.conf.broker_url == shop.shop.broker_url
    assert celery_setup.app.conf.result_backend == shop.shop.result_backend_url
    assert celery_setup.ready(control=True)
    assert len(celery_setup.worker_cluster) == 6


def test_a_chain_runs_through_the_cluster_and_commits(celery_setup: CeleryTestSetup, shop: Shopkeeper) -> None:
    ada, tea = shop.add_user(), shop.add_product(stock=10)
    answer = shop.place_order(ada, {tea: 3})
    assert answer.status == 201, answer
    for branch in shop.branches(answer):
        assert celery_setup.app.AsyncResult(branch["task_id"]).get(timeout=10)["prepared"]
        worker(celery_setup, INSTALLATION.branch_queue(branch["name"].split(".")[0])).assert_log_exists(
            branch["task_id"]
        )


def test_a_chain_commits_though_a_worker_of_the_cluster_is_killed_in_the_middle(
    celery_setup: CeleryTestSetup, shop: Shopkeeper
) -> None:
    ada, tea = shop.add_user(), shop.add_product(stock=10)
    order = shop.placed_order(ada, {tea: 3})
    products = worker(celery_setup, INSTALLATION.branch_queue("products"))
    with shop.held("products", "products", tea) as lock:
        removal = shop.remove_user(ada, **ASYNC)
        shop.wait_for_waiter(lock)
        products.kill()
    assert shop.row(removal)["state"] == "preparing"
    products.restart()
    assert shop.settled(removal) == "committed"
    assert (shop.user_status(ada), shop.order_status(order), shop.stock_of(tea)) == (None, "cancelled", 10)
