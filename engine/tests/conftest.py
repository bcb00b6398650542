"""The server for these tests: the one that ``ATOMIC_TEST_POSTGRES`` names, else one by ``local_servers``."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")
def atomic_postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if url := os.environ.get("ATOMIC_TEST_POSTGRES"):
        yield url
        return
    application = pytest.importorskip("local_servers.application", reason="set ATOMIC_TEST_POSTGRES")
    with application.Application(tmp_path_factory.mktemp("servers"), databases={"any": "any"}) as servers:
        yield servers.admin_url("postgres")
