"""What the shop says of itself in `status.json`, beside what every application on these servers says."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from local_servers import status
from local_servers.status import Status


@dataclass(frozen=True)
class ShopStatus(Status):
    """The `apis` are the services'."""

    #: its URL; None while it is not up
    flower: str | None = None
    installation: str = ""

    @property
    def addresses(self) -> dict[str, str]:
        flower = {"flower": self.flower} if self.flower else {}
        return {**self.apis, **flower, **super().addresses}

    def variables(self, service: str) -> dict[str, str]:
        """What a process has in its environment that works at this shop as one of `service`."""
        return {
            "ATOMIC_INSTALLATION": self.installation,
            "BROKER_URL": self.broker,
            "RESULT_BACKEND_URL": self.result_backend,
            "DATABASE_URL": self.databases[service],
        }


def read_status(state: Path) -> ShopStatus | None:
    """What runs in the state folder; None when nothing is known.

    Raises PermissionError when the file is another user's.
    """
    return status.read_status(state, ShopStatus)
