"""The order in which the shop's processes end, and ending those of a launcher that was killed."""

from __future__ import annotations

import signal
from collections.abc import Iterable
from pathlib import Path

from embedded.clearing import end_known
from embedded.settings import Say
from embedded.status import forget_status, read_status

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
    return {"redis": 3, "rabbitmq": 3, "epmd": 4, "postgres": 4}.get(name, 0)


def stop_leftovers(state: Path, say: Say) -> int:
    """End what a launcher that was killed has left running in this state folder. Returns how many.

    To be called by the holder of the folder's lock. Each process is known by pid and start time; another
    one that was given the same pid is not touched.
    """
    status = read_status(state)
    left = {one.name: one for one in status.leftovers} if status else {}
    if status and left:
        say(f"launcher pid {status.launcher.pid} was killed and left {len(left)} processes: stopping them")
    for phase in stop_phases(left):
        known = [Known(one.pid, one.known, _stop_signal(one.name)) for name in phase if (one := left[name]).known]
        for pid in end_known(known, PATIENCE):
            say(f"pid {pid} did not stop within {PATIENCE:g} s: killed")
    forget_status(state)
    return len(left)
