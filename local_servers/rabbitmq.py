"""RabbitMQ as the broker instead of Redis: only where the machine has it; tests use it.

Erlang's port mapper (epmd) is one a machine by default, started by the first node and left running after
the last. Here it is a child process of our own on a port of its own: it ends with the application, and no
other node of the machine is met.
"""

from __future__ import annotations

import shutil
import socket
from collections.abc import Mapping
from pathlib import Path

from local_servers.binaries import find_rabbitmq
from local_servers.errors import LocalServersError
from local_servers.processes import Run
from local_servers.settings import HOST, ServerPorts
from local_servers.supervision import BROKERS_STOP, DATABASES_STOP, Program

AMQP_HELLO = b"AMQP\x00\x00\x09\x01"


class RabbitMQ:
    """A node with data, log, cookie and configuration below the state folder, and its port mapper."""

    def __init__(self, state: Path, ports: ServerPorts, environment: Mapping[str, str], node: str) -> None:
        """Find the programs. Raises LocalServersError when there are none.

        `node`: never changed for one state folder, for its data belong to a node of this name.
        """
        self._server = find_rabbitmq(environment)
        epmd = shutil.which("epmd", path=environment.get("PATH"))
        if epmd is None:
            raise LocalServersError(f"{self._server} is there, but Erlang's epmd is not on PATH: install Erlang.")
        self._epmd = epmd
        self._folder = state / "rabbitmq"
        self.port, self._dist_port, self._epmd_port = ports.rabbitmq, ports.rabbitmq_dist, ports.epmd
        others = [name for name in environment if not name.startswith(("RABBITMQ_", "ERL_"))]
        self._environment = {**{name: environment[name] for name in others}, **self._settings(node)}

    def programs(self) -> tuple[Program, Program]:
        """The port mapper, and the server that needs it. Makes their folder."""
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / "enabled_plugins").write_text("[].\n")
        (self._folder / "rabbitmq.conf").write_text("log.console = true\nlog.console.level = info\n")
        epmd = Program(
            name="epmd",
            argv=(self._epmd, "-port", str(self._epmd_port), "-address", HOST),
            environment=self._environment,
            folder=self._folder,
            is_ready=lambda run: _answers(self._epmd_port, b""),
            port=self._epmd_port,
            stop_phase=DATABASES_STOP,  # the server needs it until its own end
            patience=3.0,
        )
        server = Program(
            name="rabbitmq",
            argv=(str(self._server),),
            environment=self._environment,
            folder=self._folder,
            is_ready=self._is_ready,
            port=self.port,
            stop_phase=BROKERS_STOP,
        )
        return epmd, server

    @property
    def url(self) -> str:
        """amqp://guest:guest@127.0.0.1:port//"""
        return f"amqp://guest:guest@{HOST}:{self.port}//"

    def _settings(self, node: str) -> dict[str, str]:
        folder = self._folder
        return {
            "HOME": str(folder),  # Erlang keeps its cookie there
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": HOST,
            "RABBITMQ_NODENAME": node,
            "RABBITMQ_NODE_IP_ADDRESS": HOST,
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            "RABBITMQ_CONF_ENV_FILE": str(folder / "rabbitmq-env.conf"),  # none: nor is the machine's
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_PID_FILE": str(folder / "rabbitmq.pid"),
        }

    def _is_ready(self, run: Run) -> bool:
        """The server opens its port last of all, and answers a client's hello with a frame of type 1."""
        return _answers(self.port, AMQP_HELLO)


def _answers(port: int, hello: bytes) -> bool:
    try:
        with socket.create_connection((HOST, port), timeout=1) as connection:
            connection.sendall(hello)
            return not hello or connection.recv(1) == b"\x01"
    except OSError:
        return False
