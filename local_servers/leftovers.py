"""The order in which processes end, and ending those of a launcher that was killed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from local_servers.clearing import Known, end_known
from local_servers.settings import Say
from local_servers.status import Status, forget_status, read_status

PATIENCE = 20.0


def stop_phases(phases: Mapping[str, int]) -> list[list[str]]:
    """Names of processes, grouped in the order in which they are to end, from name → number of its phase."""
    return [[name for name, its in phases.items() if its == phase] for phase in sorted(set(phases.values()))]


def _known(status: Status) -> dict[str, Known]:
    return {
        one.name: Known(one.pid, one.known, one.stop_signal)
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
        say(f"launcher pid {status.launcher.pid} was killed and left {len(left)} of its processes: stopping them")
        for phase in stop_phases({one.name: one.stop_phase for one in status.processes if one.name in left}):
            for pid in end_known([left[name] for name in phase], PATIENCE):
                say(f"pid {pid} did not stop within {PATIENCE:g} s: killed")
    forget_status(state)
    return len(left)
