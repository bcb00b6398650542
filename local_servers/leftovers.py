"""The order in which the shop's processes end, and ending those of a launcher that was killed."""

from __future__ import annotations

import signal
from collections.abc import Iterable
from pathlib import Path

from local_servers.clearing import Known, end_known
from local_servers.settings import Say
from local_servers.status import Status, forget_status, read_status

PATIENCE = 20.0


def stop_phases(names: Iterable[str]) -> list[list[str]]:
    """Names of processes, grouped in the order in which they are to end.

    First what takes new work, then the workers of branches, then those of outcomes (both finish what they
    run, and what the first still sends is for the second), then the brokers, PostgreSQL last of all.
    """
    phases: dict[int, list[str]] = {}
    for name in names:
        phases.setdefault(_phase(name), []).append(name)
    return [phases[number] for number in sorted(phases)]


def _phase(name: str) -> int:
    if name.endswith("-outcome-worker"):
        return 2
    if name.endswith("-worker"):
        return 1
    if _is_postgres(name):
        return 4
    return {"redis": 3, "rabbitmq": 3, "epmd": 4}.get(name, 0)


def _is_postgres(name: str) -> bool:
    """One server for all services, or one of those that serve one each (`postgres-users`)."""
    return name.partition("-")[0] == "postgres"


def _known(status: Status) -> dict[str, Known]:
    return {
        one.name: Known(one.pid, one.known, signal.SIGINT if _is_postgres(one.name) else signal.SIGTERM)
        for one in status.leftovers
        if one.pid is not None and one.known is not None
    }


def stop_leftovers(state: Path, say: Say) -> int:
    """End what a launcher that was killed has left running in this state folder. Returns how many.

    To be called by the holder of the folder's lock. Each process is known by pid and start time; another
    one that was given the same pid is not touched.
    """
    status = read_status(state, Status)
    left = _known(status) if status else {}
    if status and left:
        killed = status.launcher.pid
        say(f"launcher pid {killed} was killed and left {len(left)} of its processes: stopping them")
    for phase in stop_phases(left):
        for pid in end_known([left[name] for name in phase], PATIENCE):
            say(f"pid {pid} did not stop within {PATIENCE:g} s: killed")
    forget_status(state)
    return len(left)
