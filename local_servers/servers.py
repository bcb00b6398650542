"""The servers of an application, and where its processes find them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from local_servers.errors import LocalServersError
from local_servers.postgres import Postgres
from local_servers.rabbitmq import RabbitMQ
from local_servers.redis import Redis
from local_servers.settings import HOST, Broker, ServerPorts, free_port

MISLEADING = ("PG", "CELERY_", "FLOWER_")
"""Variables with these beginnings would change what a process's libraries do behind its back."""
RABBITMQ = {"rabbitmq", "rabbitmq_dist", "epmd"}
"""The ports that are used only with RabbitMQ as the broker."""

RABBITMQ = {"rabbitmq", "rabbitmq_dist", "epmd"}
"""The ports that are used only with RabbitMQ as the broker."""

Route = Callable[[str, str, str], str]
"""(name of a process, "database" | "broker" | "results", the server's URL) → the URL that the process is told."""


class Servers:
    """PostgreSQL, Redis, RabbitMQ if wanted: which there are, and their addresses (the databases' are known once the
    application was started). Nothing is started here."""

    def __init__(
        self,
        state: Path,
        *,
        databases: Mapping[str, str],
        ports: ServerPorts | None,
        environment: Mapping[str, str] | None,
        broker: Broker,
        node: str,
        postgres_each: bool,
        postgres_settings: Mapping[str, Mapping[str, str]] | None,
        route: Route | None,
        say: Callable[[str], None],
    ) -> None:
        """What each is for: `Application`. `say` is told what the servers have to say before they run."""
        self.state = state.resolve()
        self.ports = (ports or ServerPorts.free()).chosen()
        self._databases = dict(databases)
        self._added = dict(environment or {})
        self._route = route or _directly
        servers = {**os.environ, **self._added}
        self._all_postgres = self._postgres_servers(servers, postgres_each, postgres_settings or {}, say)
        self._redis = Redis(self.state, self.ports.redis, servers, say)
        self._rabbitmq = RabbitMQ(self.state, self.ports, servers, node) if broker == "rabbitmq" else None

    def used_ports(self) -> set[str]:
        """Names of the ports that must be free at the start."""
        return set(self.ports.names()) - (set() if self._rabbitmq else RABBITMQ)

    def url(self, name: str) -> str:
        """Of the HTTP server on the port of that name, without a slash at the end."""
        return f"http://{HOST}:{self.ports.of(name)}"

    def database_url(self, name: str) -> str:
        """The database, as the role that owns it."""
        return self._postgres_of(name).url(name, self._databases[name])

    def admin_url(self, database: str) -> str:
        """Any database, as superuser: one of the application's, or one of those that every server has."""
        return self._postgres_of(database).admin_url(database)

    def data_folder(self, name: str) -> Path:
        """Where `redis`, `postgres` (or `postgres-<database>`) keeps its data."""
        folders = {postgres.name: postgres.data for postgres in self._all_postgres} | {"redis": self._redis.data}
        if name not in folders:
            raise LocalServersError(f"{name!r} keeps no data here (these do: {', '.join(folders)}).")
        return folders[name]

    @property
    def broker_url(self) -> str:
        return self._rabbitmq.url if self._rabbitmq else self._redis.url(0)

    @property
    def result_backend_url(self) -> str:
        return self._redis.url(1)

    def environment_of(self, process: str, database: str | None = None) -> dict[str, str]:
        """Variables for a process: our own, but for the misleading ones; where the servers are; what was added.

        Those are BROKER_URL, RESULT_BACKEND_URL, and DATABASE_URL for who is given a `database`.
        """
        ours = {name: value for name, value in os.environ.items() if not name.startswith(MISLEADING)}
        said = {
            "BROKER_URL": self._route(process, "broker", self.broker_url),
            "RESULT_BACKEND_URL": self._route(process, "results", self.result_backend_url),
        }
        if database:
            said["DATABASE_URL"] = self._route(process, "database", self.database_url(database))
        return {**ours, "PYTHONUNBUFFERED": "1", **said, **self._added}

    def _postgres_servers(
        self,
        environment: Mapping[str, str],
        each: bool,
        settings: Mapping[str, Mapping[str, str]],
        say: Callable[[str], None],
    ) -> tuple[Postgres, ...]:
        """One with every database, or one for each, called after it."""
        make = partial(Postgres, self.state, environment=environment, say=say, databases=self._databases)
        if not each:
            return (make(self.ports.postgres, settings=settings),)
        taken = set(self.ports.as_dict().values())
        servers = []
        for name in self._databases:
            taken.add(port := free_port(taken))
            servers.append(make(port, only=name, settings=settings))
        return tuple(servers)

    def _postgres_of(self, database: str) -> Postgres:
        """The server that the database is on; any for one that every server has."""
        return next((one for one in self._all_postgres if database in one.databases), self._all_postgres[0])


def _directly(process: str, server: str, url: str) -> str:
    return url
