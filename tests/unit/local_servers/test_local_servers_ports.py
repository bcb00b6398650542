"""The ports of servers and of an application on them: movable, free, and a clear line for each that is not."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from local_servers.errors import LocalServersError
from local_servers.settings import ServerPorts, check_ports, free_port, is_free, state_folder


@dataclass(frozen=True)
class Ports(ServerPorts):
    """Those of an application of two processes."""

    site: int = 8001
    search: int = 8002


def test_an_applications_own_ports_come_before_the_servers() -> None:
    assert list(Ports().as_dict()) == ["site", "search", "postgres", "redis", "rabbitmq", "rabbitmq_dist", "epmd"]
    assert ServerPorts().as_dict().keys() == Ports().as_dict().keys() - {"site", "search"}


def test_each_port_is_moved_by_its_own_setting() -> None:
    names = Ports.names()
    environment = {f"{name.upper()}_PORT": str(7001 + number) for number, name in enumerate(names)}
    ports = Ports.from_environment(environment)
    assert [ports.of(name) for name in names] == [7001 + number for number, _ in enumerate(names)]
    assert Ports.from_environment({}) == Ports()


@pytest.mark.parametrize("value", ["abc", "-1", "65536", "8001.5", "tcp://10.0.0.1:6379"])
def test_a_value_that_is_no_port_is_one_line_that_names_the_setting(value: str) -> None:
    with pytest.raises(LocalServersError, match=r"^REDIS_PORT='.*' is not a whole number from 0 to 65535"):
        Ports.from_environment({"REDIS_PORT": value})


def test_one_port_for_two_is_one_line_that_names_both_settings() -> None:
    with pytest.raises(LocalServersError, match=r"^SITE_PORT and SEARCH_PORT are both 8002"):
        Ports.from_environment({"SITE_PORT": "8002"})


def test_zero_becomes_a_free_port_and_no_two_are_the_same() -> None:
    ports = Ports.free().chosen().as_dict()
    assert len(set(ports.values())) == len(ports)
    assert all(is_free(port) for port in ports.values())


@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's range of outgoing ports")
def test_a_free_port_is_none_that_an_outgoing_connection_may_be_given() -> None:
    first, _ = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
    assert all(free_port() < int(first) for _ in range(20))


def test_a_port_in_use_is_one_line_that_says_what_where_and_how_to_fix(busy_port: int) -> None:
    with pytest.raises(LocalServersError) as error:
        check_ports(Ports(search=busy_port), {"search"})
    message = str(error.value)
    assert f"Port {busy_port} of 127.0.0.1, wanted for search, is in use" in message
    assert "SEARCH_PORT=" in message
    assert "\n" not in message


def test_a_port_in_use_does_not_matter_where_nothing_is_to_listen(busy_port: int) -> None:
    check_ports(Ports(search=busy_port), set())


def test_the_state_folder_is_the_applications_unless_it_is_moved(tmp_path: Path) -> None:
    assert state_folder({}, tmp_path / "usual") == tmp_path / "usual"
    assert state_folder({"EMBEDDED_STATE": str(tmp_path)}, tmp_path / "usual") == tmp_path
