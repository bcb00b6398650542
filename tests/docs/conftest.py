"""Servers for who follows a document."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from document_reader import Reader
from documents import ROOT

from local_servers.application import Application
from local_servers.errors import LocalServersError


@pytest.fixture
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    """PostgreSQL with two empty databases, and Redis."""
    try:
        made = Application(tmp_path_factory.mktemp("servers"), databases={"bank": "bank", "shop": "shop"})
    except LocalServersError as missing:
        pytest.skip(str(missing))
    with made as running:
        yield running


@pytest.fixture
def reader(servers: Application, tmp_path: Path) -> Iterator[Reader]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("ATOMIC_", "PG"))}
    environment = {
        **ours,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT / "engine" / "src"),
        "BANK_DATABASE_URL": servers.database_url("bank"),
        "SHOP_DATABASE_URL": servers.database_url("shop"),
        "BROKER_URL": servers.broker_url,
        "RESULT_BACKEND_URL": servers.result_backend_url,
    }
    following = Reader(tmp_path, environment)
    yield following
    following.close()
