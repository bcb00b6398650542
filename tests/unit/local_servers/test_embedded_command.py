"""The shop's settings and its command line: `up`, `status` and `down` where nothing is as it should be."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import cast

from celery_config.manifest import PORTS, SERVICES
from embedded import Ports, Shop
from embedded.services import ROLES, Surroundings, flower_program, service_program
from embedded.settings import DATABASES, ROOT, state_folder
from embedded.status import ShopStatus, read_status
from local_servers.identity import identity
from local_servers.leftovers import stop_phases
from local_servers.processes import Run
from local_servers.status import Recorded, as_table, write_status
from local_servers.supervision import BROKERS_STOP, DATABASES_STOP

GONE = Recorded("launcher", 4_000_000, "a boot long ago:1")


def embedded(state: Path, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "embedded", *command],
        env={**os.environ, "EMBEDDED_STATE": str(state), **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=20,
    )


def test_the_usual_ports_are_the_documented_ones() -> None:
    ports = Ports.from_environment({})
    assert {service: ports.of(service) for service in SERVICES} == PORTS
    assert (ports.flower, ports.postgres, ports.redis) == (5555, 5440, 6390)


def test_each_port_is_moved_by_its_own_setting() -> None:
    names = (*SERVICES, "flower", "postgres", "redis")
    environment = {f"{name.upper()}_PORT": str(7001 + number) for number, name in enumerate(names)}
    ports = Ports.from_environment(environment)
    assert [ports.of(name) for name in names] == [7001 + number for number, _ in enumerate(names)]


def test_every_service_has_a_database_and_a_role_of_its_own() -> None:
    assert {service: f"{service}_service" for service in SERVICES} == DATABASES


def test_the_state_folder_is_in_the_repository_unless_it_is_moved(tmp_path: Path) -> None:
    assert state_folder({}) == ROOT / ".embedded"
    assert state_folder({"EMBEDDED_STATE": str(tmp_path)}) == tmp_path


def test_up_says_so_without_a_traceback_and_ends_with_exit_code_2(busy_port: int, tmp_path: Path) -> None:
    others = {f"{name.upper()}_PORT": "0" for name in (*SERVICES, "flower", "redis")}
    done = embedded(tmp_path, "up", **others, POSTGRES_PORT=str(busy_port))
    assert done.returncode == 2
    assert done.stderr.startswith(f"embedded: Port {busy_port} of 127.0.0.1, wanted for postgres, is in use")
    assert len(done.stderr.splitlines()) == 1


def test_work_ends_before_what_it_needs() -> None:
    around = Surroundings(ROOT, {})
    programs = [flower_program(1, ROOT, around), *(service_program("users", role, 2, around) for role in ROLES)]
    phases = {program.name: program.stop_phase for program in programs}
    assert stop_phases(phases) == [["flower", "users-api"], ["users-worker"], ["users-outcome-worker"]]
    assert max(phases.values()) < BROKERS_STOP < DATABASES_STOP


def test_a_worker_is_ready_once_celery_has_said_so() -> None:
    worker = service_program("users", "worker", 2, Surroundings(ROOT, {}))
    assert worker.argv == (sys.executable, "-m", "users_service", "worker")
    assert worker.ready_text == " ready."
    run = SimpleNamespace(announced=threading.Event())
    assert not worker.is_ready(cast(Run, run))
    run.announced.set()
    assert worker.is_ready(cast(Run, run))


def test_a_second_shop_in_one_folder_is_told_how_to_stop_the_first(tmp_path: Path) -> None:
    first = Shop.lock_of(tmp_path)
    first.acquire()
    said = embedded(tmp_path, "down").stderr
    assert said.startswith(f"embedded: A shop already runs in {tmp_path} (launcher pid {os.getpid()}): stop it with `")
    first.release()


def test_status_of_nothing_ends_with_exit_code_3_and_an_empty_list_for_programs(tmp_path: Path) -> None:
    for_people, for_programs = embedded(tmp_path, "status"), embedded(tmp_path, "status", "--json")
    assert (for_people.returncode, for_people.stdout) == (3, "")
    assert for_people.stderr == f"embedded: no shop runs in {tmp_path}.\n"
    assert for_programs.returncode == 3
    assert json.loads(for_programs.stdout)["processes"] == []


def test_the_status_names_flower_where_it_runs(tmp_path: Path) -> None:
    write_status(tmp_path, ShopStatus(GONE, "ready", apis={"users": "http://u"}, broker="redis://b", flower="http://f"))
    found = read_status(tmp_path)
    assert found is not None
    assert list(found.addresses.items())[:3] == [("users", "http://u"), ("flower", "http://f"), ("broker", "redis://b")]
    assert "  flower    http://f\n" in as_table(found)
    assert "flower" not in as_table(ShopStatus(GONE, "ready"))


def test_env_gives_a_terminal_what_a_service_has_in_its_environment(tmp_path: Path) -> None:
    launcher = Recorded("launcher", os.getpid(), identity(os.getpid()))
    database, broker, results = (
        "postgresql://orders:a'b$c@127.0.0.1/orders",
        "redis://127.0.0.1/0",
        "redis://127.0.0.1/1",
    )
    shop = ShopStatus(
        launcher, "ready", (), {"orders": database}, broker=broker, result_backend=results, installation="local"
    )
    write_status(tmp_path, shop)
    typed = (
        embedded(tmp_path, "env", "orders").stdout + "python3 -c 'import json, os; print(json.dumps({**os.environ}))'"
    )
    seen = json.loads(subprocess.run(["sh", "-c", typed], capture_output=True, text=True, check=True).stdout)
    assert seen.items() >= shop.variables("orders").items()
    assert shop.variables("orders").keys() == {
        "ATOMIC_INSTALLATION",
        "BROKER_URL",
        "RESULT_BACKEND_URL",
        "DATABASE_URL",
    }


def test_env_of_nothing_exports_nothing(tmp_path: Path) -> None:
    said = embedded(tmp_path, "env", "users")
    assert (said.returncode, said.stdout, said.stderr) == (3, "", f"embedded: no shop runs in {tmp_path}.\n")


def test_down_says_that_nothing_runs_or_ends_what_was_left(tmp_path: Path) -> None:
    assert embedded(tmp_path, "down").stdout == f"Nothing runs in {tmp_path}.\n"
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as sleeper:
        left = Recorded("users-api", sleeper.pid, identity(sleeper.pid))
        try:
            write_status(tmp_path, ShopStatus(GONE, "ready", (left,)))
            assert "Stopped what was left" in embedded(tmp_path, "down").stdout
            assert sleeper.wait(5) == -signal.SIGTERM
        finally:
            with contextlib.suppress(ProcessLookupError):
                sleeper.kill()
