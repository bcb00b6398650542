"""A PostgreSQL server for tests, from the same library as the embedded shop; and more databases on it."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path

import psycopg2

from atomic_commit.postgres.client_timeouts import unbounded_waits
from embedded.settings import DATABASES
from local_servers.output import Output
from local_servers.postgres import Postgres
from local_servers.settings import free_port
from local_servers.supervision import Kept


@contextlib.contextmanager
def running_postgres(state: Path, settings: Mapping[str, str], *, databases: bool = True) -> Iterator[Postgres]:
    """A server of our own with an empty database for each service, as root and as anybody else; without `databases`, as
    its data folder has it."""
    said: list[str] = []
    server = Postgres(state, free_port(), {**os.environ, **settings}, said.append, DATABASES)
    server.prepare()
    output = Output("postgres", state / "logs", None)
    kept = Kept(server.program(), output, say=said.append, changed=lambda: None)
    kept.start()
    try:
        kept.wait_ready(60)
        if databases:
            server.provide_databases()
        yield server
    finally:
        kept.end(signal.SIGKILL)  # its data go with it
        output.close()


def database_url(postgres: Postgres, service: str) -> str:
    return postgres.url(service, DATABASES[service])


@contextlib.contextmanager
def fresh_database(postgres: Postgres, name: str) -> Iterator[str]:
    """An empty database beside those of the shop; gives its URL."""
    with contextlib.closing(psycopg2.connect(postgres.admin_url("postgres"))) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            with unbounded_waits():
                cursor.execute(f'CREATE DATABASE "{name}"')
            try:
                yield postgres.admin_url(name)
            finally:
                with unbounded_waits():
                    cursor.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
