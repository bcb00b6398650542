"""The Redis-protocol server: Valkey or Redis, with an append-only file."""

from __future__ import annotations

import signal
import socket
from collections.abc import Mapping
from pathlib import Path

from local_servers.binaries import find_redis, major_version
from local_servers.clearing import end_known, processes_of
from local_servers.processes import Run
from local_servers.settings import HOST, Say
from local_servers.supervision import BROKERS_STOP, Program

ENDS_WITHIN = 10.0


class Redis:
    """A data folder below the state folder, named with server and major version, and the server on it."""

    def __init__(self, state: Path, port: int, environment: Mapping[str, str], say: Say) -> None:
        """Find the program. Raises LocalServersError when there is none."""
        self._server = find_redis(environment)
        kind = self._server.name.removesuffix("-server")
        self.data = state / f"{kind}{major_version(self._server)}"
        self.port = port
        self._environment = dict(environment)
        self._say = say

    def program(self) -> Program:
        """The server, with its data folder made."""
        self.data.mkdir(parents=True, exist_ok=True)
        settings = {
            "port": str(self.port),
            "bind": HOST,
            "dir": str(self.data),
            "appendonly": "yes",
            "appendfsync": "everysec",  # a crash of the machine may lose that much, one of the server nothing
            "save": "",
            "maxmemory-policy": "noeviction",  # a full queue says so; it never forgets a task
            "daemonize": "no",
        }
        words = (word for name, value in settings.items() for word in (f"--{name}", value))
        return Program(
            name="redis",
            argv=(str(self._server), *words),
            environment=self._environment,
            folder=self.data,
            is_ready=self._is_ready,
            port=self.port,
            stop_phase=BROKERS_STOP,
            patience=ENDS_WITHIN,
            before=self._clear_the_way,
        )

    def url(self, database: int) -> str:
        """redis://127.0.0.1:port/database"""
        return f"redis://{HOST}:{self.port}/{database}"

    def _clear_the_way(self) -> None:
        """Two servers on one append-only file would ruin it."""
        left = processes_of(self.data, self._server.resolve().name, signal.SIGTERM)
        for one in left:
            self._say(f"redis (pid {one.pid}) was left running on {self.data}: stopping it")
        end_known(left, ENDS_WITHIN)

    def _is_ready(self, run: Run) -> bool:
        """Not before it has read its append-only file: until then it answers -LOADING."""
        try:
            with socket.create_connection((HOST, self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False
