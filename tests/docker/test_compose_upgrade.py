"""From one release to the next, one container after the other, while customers work: old and new side by side.

An old one that does not know WEB_DRAIN fails it: its APIs may close their door on a request (502).
"""

from __future__ import annotations

import io
import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import docker
import pytest

from celery_config.manifest import SERVICES
from tests.broker.shopkeeper import WORKERS
from tests.broker.waiting import wait_until
from tests.docker.compose import Project
from tests.docker.engine import ROOT, SHOP, NotHere
from tests.docker.load import customers

OLD = f"{SHOP}:old"
#: So much an old worker of each kind does beside the new one, on the same queue.
TASKS_SIDE_BY_SIDE = 20


@pytest.fixture
def old_image(engine: docker.DockerClient, images: dict[str, str]) -> str:
    """Built from the commit that OLD names, or else from the newest release."""
    commit = os.environ.get("OLD") or git("describe", "--tags", "--abbrev=0").decode().strip()
    if not commit:
        pytest.skip("no release to upgrade from is known here; OLD=<commit> names one")
    files = git("archive", "--format=tar", commit)
    if not files:
        pytest.skip(f"git knows no {commit} here")
    engine.images.build(fileobj=io.BytesIO(files), custom_context=True, tag=OLD, rm=True)
    return OLD


@pytest.fixture
def old_project(old_image: str) -> Iterator[Project]:
    try:
        project = Project(image=old_image)
    except NotHere as missing:
        pytest.skip(str(missing))
    try:
        project.up()
        yield project
    finally:
        project.down()


@pytest.mark.timeout(900)
def test_customers_hardly_notice_an_upgrade(old_project: Project, tmp_path: Path) -> None:
    project = old_project
    with customers(project, tmp_path / "history.jsonl"):
        project.image = SHOP
        for service in SERVICES:
            project.run_again(f"{service}-migrate")
        for service in SERVICES:
            for role in ("worker", "outcome-worker", "api"):
                print(project.replace(f"{service}-{role}"), flush=True)
        with ExitStack() as stack:
            old = [stack.enter_context(project.beside(worker, OLD)) for worker in WORKERS]
            for name in old:
                wait_until(
                    lambda name=name: tasks_done(name) >= TASKS_SIDE_BY_SIDE, f"{name} has had work too", 120, 1.0
                )


def tasks_done(container: str) -> int:
    log = subprocess.run(["docker", "logs", container], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=True)
    return log.stdout.count(b" succeeded in ")


def git(*words: str) -> bytes:
    """What it said; nothing where it failed."""
    done = subprocess.run(["git", *words], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return done.stdout if done.returncode == 0 else b""
