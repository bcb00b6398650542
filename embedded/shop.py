"""The whole shop as child processes of this one: `with Shop(folder) as shop: …`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import ClassVar

from celery_config.manifest import SERVICES
from embedded.services import ROLES, Surroundings, flower_program, migration, service_program
from embedded.settings import DATABASES, ROOT, Ports
from embedded.status import ShopStatus
from local_servers.application import Application, Make
from local_servers.output import Log
from local_servers.servers import Route
from local_servers.settings import Broker
from local_servers.supervision import Program

NODE = "shop@localhost"
"""RabbitMQ's. Never changed: the data folder belongs to a node of this name."""
INSTALLATION = {"ATOMIC_INSTALLATION": "local"}
"""What this shop is called unless the environment says otherwise: its servers are its own, so it meets nobody."""


class Shop(Application):
    """PostgreSQL, Redis, the manifest's services of three processes each, and Flower, in one state folder.

    Names of processes: `postgres` (or `postgres-users` and so on), `redis` (then `epmd` and `rabbitmq`, if
    that is the broker), `users-api`, `users-worker`, `users-outcome-worker`, the same for the other services,
    `flower`. While the shop starts: `users-migrate` and so on.
    """

    noun: ClassVar[str] = "shop"
    a_noun: ClassVar[str] = "a shop"
    stop_it: ClassVar[str] = "stop it with `make down`"
    ports: Ports

    def __init__(
        self,
        state: Path,
        *,
        ports: Ports | None = None,
        environment: Mapping[str, str] | None = None,
        broker: Broker = "redis",
        flower: bool = True,
        log: Log | None = None,
        supervise: bool = True,
        root: Path = ROOT,
        roots: Mapping[str, Path] | None = None,
        postgres_each: bool = False,
        postgres_settings: Mapping[str, Mapping[str, str]] | None = None,
        route: Route | None = None,
    ) -> None:
        """Find the servers' programs; nothing is started or written yet.

        As for every Application, but: `root`: the folder with the services' packages; `roots`: another one for
        some processes, by name (a worker of another release). `postgres_each`: a PostgreSQL server for each
        service, as in production, instead of one with all databases.
        """
        super().__init__(
            state,
            databases=DATABASES,
            ports=ports or Ports.free(),
            environment=environment,
            broker=broker,
            node=NODE,
            log=log,
            supervise=supervise,
            postgres_each=postgres_each,
            postgres_settings=postgres_settings,
            route=route,
        )
        self._root, self._roots, self._with_flower = root, dict(roots or {}), flower

    def jobs(self) -> dict[str, Make]:
        """The services' migrations."""
        return {f"{service}-migrate": partial(self._migration, service) for service in SERVICES}

    def programs(self) -> dict[str, Make]:
        """The services' processes, and Flower."""
        flower: dict[str, Make] = {"flower": self._flower} if self._with_flower else {}
        services = {
            f"{service}-{role}": partial(self._service, service, role) for service in SERVICES for role in ROLES
        }
        return {**services, **flower}

    @property
    def apis(self) -> dict[str, str]:
        return {service: self.url(service) for service in SERVICES}

    @property
    def flower_url(self) -> str:
        return self.url("flower")

    def used_ports(self) -> set[str]:
        return super().used_ports() - (set() if self._with_flower else {"flower"})

    def status(self) -> ShopStatus:
        return ShopStatus(
            **vars(super().status()),
            flower=self.flower_url if self._with_flower else None,
            installation=self._around("flower").variables["ATOMIC_INSTALLATION"],
        )

    def _migration(self, service: str) -> Program:
        return migration(service, self._around(f"{service}-migrate", service))

    def _service(self, service: str, role: str) -> Program:
        return service_program(service, role, self.ports.of(service), self._around(f"{service}-{role}", service))

    def _flower(self) -> Program:
        return flower_program(self.ports.flower, self.state / "flower" / "history", self._around("flower"))

    def _around(self, name: str, service: str | None = None) -> Surroundings:
        """Folder and variables of the process `name`; only those of a service know a database."""
        folder = self._roots.get(name, self._root)
        return Surroundings(folder, {**INSTALLATION, **self.environment_of(name, service)})
