"""A wire between a service and its database that a test can cut in the middle of a statement."""

from __future__ import annotations

import contextlib
import select
import socket
import threading


class Wire:
    """A port on loopback that passes everything on to another one, until it is cut."""

    def __init__(self, host: str, port: int) -> None:
        self._far_end = host, port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self._cut: tuple[bytes, bool] | None = None
        self.cuts = 0
        threading.Thread(target=self._accept, name="wire", daemon=True).start()

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def cut_at(self, statement: str, *, reached: bool) -> None:
        """Once, at the next statement with these words, close the connection at both ends: before the server has heard
        of it, or (`reached`) when the server has answered, and before the client hears that."""
        with self._lock:
            self._cut = statement.encode(), reached

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
            threading.Thread(target=self._carry, args=(client,), name="wire", daemon=True).start()

    def _carry(self, client: socket.socket) -> None:
        with client, socket.create_connection(self._far_end) as server, contextlib.suppress(OSError):
            answer_is_lost = False
            while True:
                for end in select.select([client, server], [], [])[0]:
                    said = end.recv(65536)
                    if not said or (end is server and answer_is_lost):
                        return
                    if end is client and (reached := self._is_cut_at(said)) is not None:
                        if not reached:
                            return
                        answer_is_lost = True
                    (server if end is client else client).sendall(said)

    def _is_cut_at(self, said: bytes) -> bool | None:
        """Whether what the client said may reach the server; None where the wire is not to be cut here."""
        with self._lock:
            if self._cut is None or self._cut[0] not in said:
                return None
            (_, reached), self._cut = self._cut, None
            self.cuts += 1
            return reached
