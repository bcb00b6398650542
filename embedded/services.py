"""The services' processes, their migrations, and Flower: command lines, environment, readiness."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from local_servers.json_http import NoAnswer, call
from local_servers.settings import HOST
from local_servers.supervision import Program
from local_servers.workers import worker_program

ROLES = ("api", "worker", "outcome-worker")
API_PATIENCE = 40.0
"""Longer than a client may wait for a decision: who waits is still answered (see the APIs' own stop)."""


@dataclass(frozen=True)
class Surroundings:
    """What all these processes share."""

    #: the repository, which they run in
    folder: Path
    #: all their variables but those of a single process
    variables: Mapping[str, str]

    @property
    def environment(self) -> dict[str, str]:
        """With the engine of this folder, whatever is installed: the folder may hold another release."""
        return {**self.variables, "PYTHONPATH": str(self.folder / "engine" / "src")}


def service_program(service: str, role: str, port: int, around: Surroundings) -> Program:
    """API, worker or outcome worker of one service; only the API listens, on `port`."""
    if role == "api":
        return Program(
            name=f"{service}-api",
            argv=_command(service, role),
            environment={**around.environment, "PORT": str(port)},
            folder=around.folder,
            is_ready=lambda run: _status_of(port, "/readyz") == 200,
            port=port,
            patience=API_PATIENCE,
        )
    return worker_program(service, role, ("-m", f"{service}_service"), around.environment, around.folder)


def migration(service: str, around: Surroundings) -> Program:
    """Bring the service's database up to date."""
    return Program(
        name=f"{service}-migrate",
        argv=_command(service, "migrate"),
        environment=around.environment,
        folder=around.folder,
    )


FLOWER_COLUMNS = "name,state,routing_key,worker,received,runtime,uuid"
"""What the page of tasks shows; the routing key is the queue."""


def flower_program(port: int, history: Path, around: Surroundings) -> Program:
    """Celery's monitor, which writes what it has seen into the file `history`. Its API is open to who can reach it:
    this machine."""
    kept = ("--persistent=True", f"--db={history}")
    where = (f"--address={HOST}", f"--port={port}")
    return Program(
        name="flower",
        argv=(sys.executable, "-m", "celery_config.monitor", *where, *kept, f"--tasks-columns={FLOWER_COLUMNS}"),
        environment={**around.environment, "FLOWER_UNAUTHENTICATED_API": "true"},
        folder=around.folder,
        is_ready=lambda run: _status_of(port, "/healthcheck") is not None,
        port=port,
        patience=5.0,
    )


def _command(service: str, role: str) -> tuple[str, ...]:
    return (sys.executable, "-m", f"{service}_service", role)


def _status_of(port: int, path: str) -> int | None:
    """The status of a GET; None when nobody answers."""
    try:
        return call("GET", f"http://{HOST}:{port}{path}", patience=3.0).status
    except NoAnswer:
        return None
