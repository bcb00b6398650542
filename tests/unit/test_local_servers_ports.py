"""The embedded shop's ports: movable, free, and a clear line for each that is not."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from local_servers.errors import EmbeddedError
from local_servers.settings import ROOT, Ports, check_ports, free_port, is_free, state_folder


@pytest.fixture
def busy_port() -> Iterator[int]:
    """A port that somebody listens on for as long as the test runs."""
    port = free_port()
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("0.0.0.0", port))
        listener.listen()
        yield port


def test_the_usual_ports_are_the_documented_ones() -> None:
    ports = Ports.from_environment({})
    assert (ports.users, ports.products, ports.orders) == (5001, 5002, 5003)
    assert (ports.flower, ports.postgres, ports.redis) == (5555, 5440, 6390)


def test_each_port_is_moved_by_its_own_setting() -> None:
    names = ("users", "products", "orders", "flower", "postgres", "redis")
    environment = {f"{name.upper()}_PORT": str(7001 + number) for number, name in enumerate(names)}
    ports = Ports.from_environment(environment)
    assert [ports.of(name) for name in names] == [7001, 7002, 7003, 7004, 7005, 7006]


@pytest.mark.parametrize("value", ["abc", "-1", "65536", "5001.5", "tcp://10.0.0.1:6379"])
def test_a_value_that_is_no_port_is_one_line_that_names_the_setting(value: str) -> None:
    with pytest.raises(EmbeddedError, match=r"^REDIS_PORT='.*' is not a whole number from 0 to 65535"):
        Ports.from_environment({"REDIS_PORT": value})


def test_one_port_for_two_is_one_line_that_names_both_settings() -> None:
    with pytest.raises(EmbeddedError, match=r"^USERS_PORT and ORDERS_PORT are both 5003"):
        Ports.from_environment({"USERS_PORT": "5003"})


def test_zero_becomes_a_free_port_and_no_two_are_the_same() -> None:
    ports = Ports.free().chosen().as_dict()
    assert len(set(ports.values())) == len(ports)
    assert all(is_free(port) for port in ports.values())


@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's range of outgoing ports")
def test_a_free_port_is_none_that_an_outgoing_connection_may_be_given() -> None:
    first, _ = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
    assert all(free_port() < int(first) for _ in range(20))


def test_a_port_in_use_is_one_line_that_says_what_where_and_how_to_fix(busy_port: int) -> None:
    with pytest.raises(EmbeddedError) as error:
        check_ports(Ports(orders=busy_port), {"orders"})
    message = str(error.value)
    assert f"Port {busy_port} of 127.0.0.1, wanted for orders, is in use" in message
    assert "ORDERS_PORT=" in message
    assert "\n" not in message


def test_a_port_in_use_does_not_matter_where_nothing_is_to_listen(busy_port: int) -> None:
    check_ports(Ports(flower=busy_port), set())


def test_up_says_so_without_a_traceback_and_ends_with_exit_code_2(busy_port: int, tmp_path: Path) -> None:
    others = {f"{name}_PORT": "0" for name in ("USERS", "PRODUCTS", "ORDERS", "FLOWER", "REDIS")}
    done = subprocess.run(
        [sys.executable, "-m", "embedded", "up"],
        env={**others, "POSTGRES_PORT": str(busy_port), "EMBEDDED_STATE": str(tmp_path), "PATH": "/usr/bin:/bin"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"embedded: Port {busy_port} of 127.0.0.1, wanted for postgres, is in use")
    assert len(done.stderr.splitlines()) == 1


def test_the_state_folder_is_in_the_repository_unless_it_is_moved(tmp_path: Path) -> None:
    assert state_folder({}) == ROOT / ".embedded"
    assert state_folder({"EMBEDDED_STATE": str(tmp_path)}) == tmp_path
