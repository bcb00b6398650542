"""Every container of the project is restarted, one after the other, while customers work."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.broker.waiting import wait_until
from tests.docker.compose import Project
from tests.docker.engine import COMPOSE_FILES, NotHere
from tests.docker.load import customers

#: So many requests between two restarts: whoever was sent away is back.
SERVED_BETWEEN = 20


@pytest.fixture(params=[COMPOSE_FILES[:1], COMPOSE_FILES], ids=["redis", "rabbitmq"])
def project(request: pytest.FixtureRequest, images: dict[str, str]) -> Iterator[Project]:
    """A project of its own, of the images that were made sure of, with its messages on either broker."""
    try:
        project = Project(files=request.param)
    except NotHere as missing:
        pytest.skip(str(missing))
    try:
        project.up()
        yield project
    finally:
        project.down()


@pytest.mark.timeout(600)
def test_customers_hardly_notice_that_every_container_is_restarted(project: Project, tmp_path: Path) -> None:
    containers = project.running()
    assert len(containers) == (16 if "rabbitmq" in containers.values() else 15)
    with customers(project, tmp_path / "history.jsonl") as market:
        for name in containers:
            print(project.restart(name), flush=True)
            enough = market.served() + SERVED_BETWEEN
            wait_until(lambda enough=enough: market.served() >= enough, "customers are served again", 60)
