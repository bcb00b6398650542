"""How the demo ends when the shop does not do what the story tells."""

from __future__ import annotations

from local_servers.errors import LocalServersError


class DemoFailed(LocalServersError):
    """Something else happened than what the story tells. `service`: whose logs may say why; None: everybody's."""

    exit_code = 1

    def __init__(self, message: str, service: str | None = None) -> None:
        super().__init__(message)
        self.service = service
