"""One shop for each broker, for all tests of this folder; one shopkeeper for each test."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from embedded.shop import Shop
from local_servers.errors import LocalServersError
from tests.broker.quorum_queues import wait_until_queues_are_kept
from tests.broker.shopkeeper import Shopkeeper

#: A silent attempt is given up after 2 s instead of 5: what a test kills is missed sooner.
SPEEDY = {"ATOMIC_PATIENCE": "2"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(180))


@pytest.fixture(scope="session", params=["redis", "rabbitmq"])
def running_shop(request: pytest.FixtureRequest) -> Iterator[tuple[Shop, str]]:
    """The whole shop as child processes, in a folder of its own, on free ports."""
    state = Path(tempfile.mkdtemp(prefix=f"shop-{request.param}-"))
    try:
        started = Shop(state, environment=SPEEDY, broker=request.param)
    except LocalServersError as missing:
        pytest.skip(f"no {request.param} here: {missing}")
    with started:
        if request.param == "rabbitmq":
            wait_until_queues_are_kept(started.state)
        yield started, request.param
    shutil.rmtree(state)


@pytest.fixture
def shop(running_shop: tuple[Shop, str]) -> Iterator[Shopkeeper]:
    """The shop as one test sees it. Afterwards everything runs again, everything that was accepted ends, and the
    conservation law holds."""
    keeper = Shopkeeper(*running_shop)
    yield keeper
    keeper.end_whole()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):
    """With a failed test, what the shop's processes said last."""
    report = yield
    keeper = getattr(item, "funcargs", {}).get("shop")
    if report.when == "call" and report.failed and isinstance(keeper, Shopkeeper):
        report.sections.append(("the shop", keeper.report()))
    return report
