"""A PostgreSQL server for measurements, from the same library as the embedded shop, with one service's database."""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

from embedded.settings import DATABASES
from local_servers.output import Output
from local_servers.postgres import Postgres
from local_servers.settings import free_port
from local_servers.supervision import Kept
from service_roles.migrate import upgrade


@contextlib.contextmanager
def migrated_database(service: str) -> Iterator[tuple[str, str]]:
    """The URLs of the service's empty database: as its own role, and as the superuser. Gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        state = Path(folder)
        state.chmod(0o755)  # where the server runs as another user it has to pass through
        server = Postgres(state, free_port(), os.environ, lambda _: None, DATABASES)
        server.prepare()
        output = Output("postgres", state / "logs", None)
        kept = Kept(server.program(), output, say=lambda _: None, changed=lambda: None)
        kept.start()
        try:
            kept.wait_ready(60)
            server.provide_databases()
            url = server.url(service, DATABASES[service])
            os.environ["DATABASE_URL"] = url
            if upgrade(f"{service}_service"):
                raise SystemExit(f"{service} could not be migrated")
            yield _with_driver(url), _with_driver(server.admin_url(service))
        finally:
            kept.end(signal.SIGKILL)  # its data go with it


def _with_driver(url: str) -> str:
    return url.replace("postgresql://", "postgresql+psycopg2://", 1)
