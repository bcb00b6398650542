"""The proxy of the crash tests does to a connection what its words say."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from tests.crash.proxy import Network


class _Echo(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        with contextlib.suppress(OSError):
            while got := self.request.recv(65536):
                self.request.sendall(got)


@pytest.fixture
def network() -> Iterator[Network]:
    with Network() as network, socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Echo) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        network.url = network.route("users-api", "database", f"redis://127.0.0.1:{server.server_address[1]}/1")
        yield network
        server.shutdown()


def connected(network: Network) -> socket.socket:
    return socket.create_connection(("127.0.0.1", urlsplit(network.url).port), timeout=5)


def echoed(connection: socket.socket, sent: bytes = b"hello") -> bytes:
    connection.sendall(sent)
    got = b""
    while len(got) < len(sent) and (more := connection.recv(65536)):
        got += more
    return got


def test_a_whole_pair_passes_everything_on_and_ends_when_its_client_does(network: Network) -> None:
    much = bytes(range(256)) * 40_000
    with connected(network) as connection:
        sender = threading.Thread(target=connection.sendall, args=(much,))
        sender.start()
        got = b""
        while len(got) < len(much):
            got += connection.recv(65536)
        sender.join()
        connection.shutdown(socket.SHUT_WR)
        assert (got == much, connection.recv(1)) == (True, b"")
    assert network.url.startswith("redis://127.0.0.1:")
    assert network.url.endswith("/1")


def test_a_cut_pair_resets_its_connections_and_refuses_new_ones_until_it_is_healed(network: Network) -> None:
    with connected(network) as connection:
        assert echoed(connection) == b"hello"
        with network.broken("users-api", "database", "cut"):
            with pytest.raises(ConnectionResetError):
                connection.recv(1)
            with pytest.raises(ConnectionRefusedError):
                connected(network)
    with connected(network) as connection:
        assert echoed(connection) == b"hello"


def test_a_black_hole_takes_everything_and_says_nothing(network: Network) -> None:
    with connected(network) as connection:
        assert echoed(connection) == b"hello"
        with network.broken("users-api", "database", "black-holed"):
            connection.sendall(b"is anybody there?")
            with connected(network) as new:
                new.settimeout(0.3)
                connection.settimeout(0.3)
                for silent in (connection, new):
                    with pytest.raises(TimeoutError):
                        echoed(silent)
    with connected(network) as connection:
        assert echoed(connection) == b"hello"


def test_a_delayed_pair_loses_nothing_and_takes_its_time_each_way(network: Network) -> None:
    with connected(network) as connection:
        with network.broken("users-api", "database", "delayed", 0.2):
            began = time.monotonic()
            assert echoed(connection) == b"hello"
            assert time.monotonic() - began >= 0.4
        assert echoed(connection) == b"hello"
