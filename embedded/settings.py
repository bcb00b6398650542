"""Where the shop is: its ports, databases, state folder, and the repository."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from celery_config.manifest import PORTS, SERVICES
from local_servers import settings
from local_servers.settings import ServerPorts

ROOT = Path(__file__).resolve().parent.parent
"""The repository: the services run with it as their working directory."""


@dataclass(frozen=True)
class Ports(ServerPorts):
    """A TCP port on 127.0.0.1 for everything that listens; 0 means "pick a free one"."""

    users: int = PORTS["users"]
    products: int = PORTS["products"]
    orders: int = PORTS["orders"]
    flower: int = 5555


DATABASES = {service: f"{service}_service" for service in SERVICES}
"""A database for each service, called after it → the role that owns it. Nothing but that: preparing a transaction
needs no more."""


def state_folder(environment: Mapping[str, str]) -> Path:
    """The folder with databases, queues, passwords and logs: `EMBEDDED_STATE`, else `.embedded` here."""
    return settings.state_folder(environment, ROOT / ".embedded")
