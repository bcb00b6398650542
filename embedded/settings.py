"""Where the shop is: its ports, databases, state folder, and the repository."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, make_dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from celery_config.manifest import PORTS, SERVICES
from local_servers import settings
from local_servers.settings import ServerPorts

ROOT = Path(__file__).resolve().parent.parent
"""The repository: the services run with it as their working directory."""


if TYPE_CHECKING:
    _ServicePorts = ServerPorts
else:  # a field for each service of the manifest
    _fields = [(service, int, port) for service, port in PORTS.items()]
    _ServicePorts = make_dataclass("_ServicePorts", _fields, bases=(ServerPorts,), frozen=True)


@dataclass(frozen=True)
class Ports(_ServicePorts):
    """A TCP port on 127.0.0.1 for everything that listens: each service (``of("users")``), Flower, the servers; 0 means
    "pick a free one"."""

    flower: int = 5555


DATABASES = {service: f"{service}_service" for service in SERVICES}
"""A database for each service, called after it → the role that owns it. Nothing but that: preparing a transaction
needs no more."""


def state_folder(environment: Mapping[str, str]) -> Path:
    """The folder with databases, queues, passwords and logs: `EMBEDDED_STATE`, else `.embedded` here."""
    return settings.state_folder(environment, ROOT / ".embedded")
