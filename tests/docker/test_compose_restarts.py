"""Every container of the project is restarted, one after the other, while customers work."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docker.compose import Project
from tests.docker.engine import NotHere
from tests.docker.load import customers

#: Once the gateway is back, a moment until this machine forwards its ports again.
OPENING = 1.0


@pytest.fixture
def project(images: dict[str, str]) -> Iterator[Project]:
    """A project of its own, of the images that were made sure of."""
    try:
        project = Project()
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
    assert len(containers) == 15
    with customers(project, tmp_path / "history.jsonl") as closed:
        for name in containers:
            began = time.time()
            print(project.restart(name), flush=True)
            if "gateway" in name:  # the one container that has no other in front of it
                closed.append((began, time.time() + OPENING))
            time.sleep(1)
