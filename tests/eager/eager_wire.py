"""A wire between a service and its database that a test can cut in the middle of a statement."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from eager_shop import EagerShop


@dataclass(frozen=True)
class _Cut:
    """Where it is to be cut, and what the server has seen and said by then."""

    statement: bytes
    reached: bool
    answered: bool
    stays_away: bool


class Wire:
    """A port on loopback that passes everything on to another one, until it is cut."""

    def __init__(self, host: str, port: int) -> None:
        self._far_end = host, port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self._cut: _Cut | None = None
        self._away = False
        self._carried: set[socket.socket] = set()
        self.cuts = 0
        threading.Thread(target=self._accept, name="wire", daemon=True).start()

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def cut_at(self, statement: str, *, reached: bool, answered: bool = True, stays_away: bool = False) -> None:
        """Once, at the next statement with these words, close the connection at both ends: before the server has heard
        of it; or (`reached`) when the server has answered, and before the client hears that; or (not `answered`) while
        the server is at it. If it `stays_away` all connections are cut and new ones too, until it ``comes_back``."""
        with self._lock:
            self._cut = _Cut(statement.encode(), reached, answered, stays_away)

    def comes_back(self) -> None:
        self._away = False

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # or the thread would go on waiting for the next connection
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._away:
                client.close()
                continue
            threading.Thread(target=self._carry, args=(client,), name="wire", daemon=True).start()

    def _carry(self, client: socket.socket) -> None:
        with client, socket.create_connection(self._far_end) as server, contextlib.suppress(OSError):
            with self._lock:
                self._carried.add(client)
            try:
                self._pass_on(client, server)
            finally:
                with self._lock:
                    self._carried.discard(client)

    def _pass_on(self, client: socket.socket, server: socket.socket) -> None:
        answer_is_lost = False
        while True:
            for end in select.select([client, server], [], [])[0]:
                said = end.recv(65536)
                if not said or (end is server and answer_is_lost):
                    return
                if end is client and (cut := self._cut_at(said, client)):
                    if not cut.reached:
                        return
                    answer_is_lost = True
                    server.sendall(said)
                    if not cut.answered:
                        return
                    continue
                (server if end is client else client).sendall(said)

    def _cut_at(self, said: bytes, client: socket.socket) -> _Cut | None:
        """Whether the wire is to be cut here, and how."""
        with self._lock:
            if self._cut is None or self._cut.statement not in said:
                return None
            cut, self._cut = self._cut, None
            self.cuts += 1
            if cut.stays_away:
                self._away = True
                for other in self._carried - {client}:
                    with contextlib.suppress(OSError):
                        other.shutdown(socket.SHUT_RD)
            return cut


@contextlib.contextmanager
def wired(shop: EagerShop, service: str) -> Iterator[Wire]:
    """What the service reaches its database by while the block runs."""
    with shop.apps[service].app_context():
        engine = shop.apps[service].extensions["sqlalchemy"].engine
    wire = Wire(engine.url.host, engine.url.port)

    def through_the_wire(dialect: Any, record: Any, arguments: Any, settings: dict[str, Any]) -> None:
        settings |= {"host": "127.0.0.1", "port": wire.port}

    sa.event.listen(engine, "do_connect", through_the_wire)
    engine.dispose()
    yield wire
    sa.event.remove(engine, "do_connect", through_the_wire)
    engine.dispose()
    wire.close()
