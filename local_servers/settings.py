"""Where things are: ports and the state folder. All of it movable from the environment."""

from __future__ import annotations

import random
import socket
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Literal, Self

from local_servers.errors import LocalServersError

HOST = "127.0.0.1"

Broker = Literal["redis", "rabbitmq"]
Say = Callable[[str], None]
"""Takes one line of the launcher's own."""


def state_folder(environment: Mapping[str, str], default: Path) -> Path:
    """The folder with databases, queues, passwords and logs: `EMBEDDED_STATE`, else `default`."""
    return Path(environment.get("EMBEDDED_STATE") or default).expanduser().resolve()


def whole_number(environment: Mapping[str, str], name: str, default: int, most: int) -> int:
    """The setting `name`, from 0 to `most`.

    Raises LocalServersError when it is something else.
    """
    text = environment.get(name, "").strip() or str(default)
    if not text.isdecimal() or int(text) > most:
        raise LocalServersError(f"{name}={text!r} is not a whole number from 0 to {most}: correct or unset it.")
    return int(text)


@dataclass(frozen=True)
class ServerPorts:
    """A TCP port on 127.0.0.1 for each server; 0 means "pick a free one".

    An application adds those of its own processes as fields of a subclass.
    """

    postgres: int = 5440
    redis: int = 6390
    #: AMQP
    rabbitmq: int = 0
    #: on which Erlang nodes speak to each other
    rabbitmq_dist: int = 0
    #: of Erlang's port mapper
    epmd: int = 0

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """The usual ports, each moved by `POSTGRES_PORT`, `REDIS_PORT` and so on.

        Raises LocalServersError for a value that is no port, and for one port given to two.
        """
        chosen = {name: whole_number(environment, setting_of(name), getattr(cls, name), 65535) for name in cls.names()}
        names: dict[int, str] = {}
        for name, port in chosen.items():
            if port and port in names:
                one, other = setting_of(names[port]), setting_of(name)
                raise LocalServersError(f"{one} and {other} are both {port}: move one of them.")
            names[port] = name
        return cls(**chosen)

    @classmethod
    def free(cls) -> Self:
        """Everything on a free port: what tests want."""
        return cls(**dict.fromkeys(cls.names(), 0))

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Of all that listens: the application's own first, then the servers'."""
        servers = [field.name for field in fields(ServerPorts)]
        own = [field.name for field in fields(cls) if field.name not in servers]
        return (*own, *servers)

    def chosen(self) -> Self:
        """The same ports with a free one in place of each 0."""
        taken = {port for port in self.as_dict().values() if port}
        found: dict[str, int] = {}
        for name, port in self.as_dict().items():
            if not port:
                found[name] = free_port(taken)
                taken.add(found[name])
        return replace(self, **found)

    def as_dict(self) -> dict[str, int]:
        """Name → port."""
        return {name: getattr(self, name) for name in self.names()}

    def of(self, name: str) -> int:
        """The port of "postgres", "redis", …"""
        return self.as_dict()[name]


def setting_of(name: str) -> str:
    """The environment variable that moves the port of `name`."""
    return f"{name.upper()}_PORT"


def is_free(port: int) -> bool:
    """Whether a server could listen on this port of 127.0.0.1 now."""
    with socket.socket() as probe:
        # As servers do: connections that linger after a stop (TIME_WAIT) are no obstacle, a listener is.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def free_port(taken: Collection[int] = ()) -> int:
    """A port that nobody uses and that the system will not hand to an outgoing connection.

    Asking the system (port 0) would give one of those that it hands out. While a server on such a port is
    down, its clients' connection attempts may be given that very port as their own: the server could not
    come back, or a client would be connected to itself.
    """
    low = max(_first_ephemeral_port() - 12_000, 10_000)
    for _ in range(1_000):
        port = random.randrange(low, low + 12_000)
        if port not in taken and is_free(port):
            return port
    raise LocalServersError(f"No free port between {low} and {low + 12_000} on {HOST}.")


def _first_ephemeral_port() -> int:
    try:
        return int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return 32_768  # Linux's default; other systems begin higher


def check_ports(ports: ServerPorts, used: Collection[str]) -> None:
    """Make sure that every port in `used` (names as in ServerPorts) is free.

    Raises LocalServersError with one line for each that is not.
    """
    busy = [(name, port) for name, port in ports.as_dict().items() if name in used and not is_free(port)]
    if busy:
        raise LocalServersError(
            "\n".join(
                f"Port {port} of {HOST}, wanted for {name}, is in use: stop what listens there, "
                f"or choose another with {setting_of(name)}=… (0 picks a free one)."
                for name, port in busy
            )
        )
