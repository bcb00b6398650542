"""The travel agency of examples/trip: how little the engine asks of a service, and that its demo keeps its promises."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from local_servers.status import Status, read_status

ROOT = Path(__file__).resolve().parents[2]
TRIP = ROOT / "examples" / "trip"
SERVICES = ("bank", "flights", "hotels", "trips")
#: Lines of a service's wiring, all of them: its docstring, its imports and what is empty as well.
MOST_LINES = 30
#: What a third party may use. (werkzeug is Flask's.)
ALLOWED = {"atomic_commit", "celery", "examples", "flask", "local_servers", "sqlalchemy", "werkzeug"}
OUTCOMES = ("booked", "refused", "booked")


def sources() -> list[Path]:
    return sorted(TRIP.rglob("*.py"))


def imported(file: Path) -> Iterator[str]:
    """The full names; lazy imports too. One that is not absolute is refused by its dots."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or "")


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_is_wired_in_a_few_lines(service: str) -> None:
    wiring = (TRIP / service / "wiring.py").read_text()
    assert len(wiring.splitlines()) <= MOST_LINES
    calls = [ast.unparse(node.func) for node in ast.walk(ast.parse(wiring)) if isinstance(node, ast.Call)]
    assert calls == ["AtomicCommit.from_environment"]


@pytest.mark.parametrize("service", SERVICES)
def test_nothing_of_the_wiring_is_elsewhere(service: str) -> None:
    wires = {"configure", "create_engine", "AtomicCommit", "Installation", "Celery"}
    others = [file for file in (TRIP / service).glob("*.py") if file.name != "wiring.py"]
    used = {node.id for file in others for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Name)}
    assert not used & wires


@pytest.mark.parametrize("file", sources(), ids=lambda file: str(file.relative_to(TRIP)))
def test_it_uses_the_engine_and_the_local_servers_and_nothing_of_the_shop(file: Path) -> None:
    found = {name for name in imported(file) if name.partition(".")[0] not in ALLOWED | sys.stdlib_module_names}
    assert not found


@pytest.mark.parametrize("service", SERVICES)
def test_no_service_imports_another(service: str) -> None:
    own = f"examples.trip.{service}"
    found = [name for file in (TRIP / service).glob("*.py") for name in imported(file) if name.startswith("examples.")]
    assert {name for name in found if name != own and not name.startswith(f"{own}.")} <= {"examples.trip.contract"}


def environment(**more: str) -> dict[str, str]:
    path = os.pathsep.join([str(ROOT / "engine" / "src"), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PYTHONPATH": path, **more}


@pytest.mark.slow
def test_it_runs_until_it_is_asked_to_end_and_then_all_of_it_has_ended(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)  # where root has to run PostgreSQL as somebody else
    state = tmp_path / "agency"
    moved = environment(EMBEDDED_STATE=str(state), DOOR_PORT="0", POSTGRES_PORT="0", REDIS_PORT="0")
    argv = [sys.executable, "-m", "examples.trip", "up"]
    with subprocess.Popen(argv, cwd=ROOT, env=moved, stdout=subprocess.PIPE, text=True) as launcher:
        assert launcher.stdout is not None
        said = [launcher.stdout.readline() for _ in range(2)]
        status = read_status(state, Status)
        launcher.send_signal(signal.SIGINT)
        said += launcher.stdout.readlines()
    assert said[1] == "the agency is up; to book a trip:\n", said
    assert said[-1] == "stopping …\n"
    assert launcher.returncode == 0
    assert status is not None
    assert len(status.processes) == 10
    assert not any(one.runs for one in status.processes)


@pytest.mark.slow
def test_the_demo_books_refuses_and_books_through_a_kill() -> None:
    demo = subprocess.run(
        [sys.executable, "-m", "examples.trip", "demo"],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert demo.returncode == 0, demo.stdout + demo.stderr
    said = demo.stdout.splitlines()
    outcomes = [line.strip().removeprefix("outcome: ") for line in said if line.strip().startswith("outcome: ")]
    assert tuple(outcomes) == OUTCOMES
    assert "flights-worker" in demo.stdout
    assert "was killed at prepare.after_prepare" in demo.stdout
    assert said[-1].startswith("all three ended as they should, all sums are right, nothing is left running")
