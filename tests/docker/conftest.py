"""One cluster of containers for each broker, for all tests of this folder; without a Docker engine they are skipped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import docker
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

from tests.broker.shop_setup import ShopSetup
from tests.broker.shopkeeper import WORKERS, Shopkeeper
from tests.docker.cluster import Cluster
from tests.docker.engine import NotHere, connect, provide_images


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(300))


@pytest.fixture(scope="session")
def engine() -> docker.DockerClient:
    try:
        return connect()
    except NotHere as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="session")
def images(engine: docker.DockerClient) -> dict[str, str]:
    """Service → image; ours is built from this working tree."""
    try:
        return provide_images(engine)
    except NotHere as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="session", params=["redis", "rabbitmq"])
def cluster(request: pytest.FixtureRequest, engine: docker.DockerClient, images: dict[str, str]) -> Iterator[Cluster]:
    started = Cluster(engine, images, request.param)
    yield started
    started.stop()


@pytest.fixture
def shop(cluster: Cluster) -> Iterator[Shopkeeper]:
    """The shop as one test sees it. Afterwards everything runs again, everything that was accepted ends, and the
    conservation law holds."""
    keeper = Shopkeeper(cluster, cluster.broker_name)  # type: ignore[arg-type]
    yield keeper
    keeper.end_whole()


# ---- pytest-celery's fixtures: its clusters and its setup, around our containers. All of them are overridden, or each
# ---- test would run for every broker and every backend that it knows.


@pytest.fixture
def celery_setup_cls() -> type[CeleryTestSetup]:
    return ShopSetup


@pytest.fixture
def celery_broker_cluster(cluster: Cluster) -> CeleryBrokerCluster:
    return CeleryBrokerCluster(CeleryTestBroker(cluster.nodes[cluster.broker_name]))


@pytest.fixture
def celery_backend_cluster(cluster: Cluster) -> CeleryBackendCluster:
    return CeleryBackendCluster(CeleryTestBackend(cluster.nodes["results"]))


@pytest.fixture
def celery_worker_cluster(cluster: Cluster, celery_setup_app: Celery) -> Iterator[CeleryWorkerCluster]:
    yield CeleryWorkerCluster(*(CeleryTestWorker(cluster.nodes[name], celery_setup_app) for name in WORKERS))
    celery_setup_app.close()
