"""The whole agency on servers of its own: `with Agency(folder) as agency: …`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

from examples.trip.contract import SERVICES
from local_servers.application import Application, Make
from local_servers.readiness import READY, readiness
from local_servers.settings import HOST, ServerPorts
from local_servers.supervision import Program
from local_servers.workers import worker_program

ROOT = Path(__file__).resolve().parents[2]
"""Where `examples` is found: the processes run with it as their working directory."""
DATABASES = {service: f"{service}_service" for service in SERVICES}
"""A database for each service, called after it → the role that owns it."""
PARTICIPANTS = ("bank", "flights", "hotels")
WORKERS = {
    **{f"{service}-worker": (service, "worker") for service in PARTICIPANTS},
    **{f"{service}-outcome-worker": (service, "outcome-worker") for service in SERVICES},
}
"""Name → service and role. The trips service offers no branch, so there is nothing to do for a worker of branches."""
INSTALLATION = {"ATOMIC_INSTALLATION": "local"}
"""Its servers are its own, so it meets nobody: any name does."""


@dataclass(frozen=True)
class Ports(ServerPorts):
    door: int = 5100


class Agency(Application):
    """PostgreSQL, Redis, the workers of four services, and the door of the trips service."""

    noun: ClassVar[str] = "agency"
    a_noun: ClassVar[str] = "an agency"
    stop_it: ClassVar[str] = "stop it with Ctrl-C where it was started"

    def __init__(
        self, state: Path, *, ports: Ports | None = None, failpoints: Mapping[str, Path] | None = None
    ) -> None:
        """`failpoints`: name of a process → the folder that says at which steps it dies."""
        super().__init__(state, databases=DATABASES, ports=ports or Ports.free(), environment=INSTALLATION)
        self._failpoints = dict(failpoints or {})

    def jobs(self) -> dict[str, Make]:
        return {f"{service}-migrate": partial(self._migration, service) for service in SERVICES}

    def programs(self) -> dict[str, Make]:
        return {**{name: partial(self._worker, name) for name in WORKERS}, "door": self._door}

    @property
    def apis(self) -> dict[str, str]:
        return {"door": self.url("door")}

    def _migration(self, service: str) -> Program:
        return Program(
            name=f"{service}-migrate",
            argv=(sys.executable, "-m", "examples.trip.migrate", service),
            environment=self.environment_of(f"{service}-migrate", service),
            folder=ROOT,
        )

    def _worker(self, name: str) -> Program:
        service, role = WORKERS[name]
        dies = {"ATOMIC_FAILPOINTS": str(self._failpoints[name])} if name in self._failpoints else {}
        command = ("-m", "atomic_commit", "-A", f"examples.trip.{service}")
        return worker_program(service, role, command, {**self.environment_of(name, service), **dies}, ROOT)

    def _door(self) -> Program:
        how = ("--bind", f"{HOST}:{self.ports.of('door')}", "--threads", "8", "--graceful-timeout", "25")
        return Program(
            name="door",
            argv=(sys.executable, "-m", "gunicorn", *how, "--no-control-socket", "examples.trip.trips.door:app"),
            environment=self.environment_of("door", "trips"),
            folder=ROOT,
            is_ready=lambda run: readiness(self.apis) == {"door": READY},
            port=self.ports.of("door"),
            patience=30.0,  # who waits for a decision is still answered
        )
