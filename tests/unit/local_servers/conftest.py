"""What tests of the local servers share."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from local_servers.settings import free_port


@pytest.fixture
def busy_port() -> Iterator[int]:
    """A port that somebody listens on for as long as the test runs."""
    port = free_port()
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("0.0.0.0", port))
        listener.listen()
        yield port
