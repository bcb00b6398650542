"""Ending processes that an earlier run left behind, and only those that are provably ours.

They are not our children, so they cannot be waited for, nor kept from giving their number away. Whoever is
signalled here was identified first, by pid *and* by what `identity` says.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from local_servers.identity import identity, working_in

LOOK_EVERY = 0.02
JUST_WAIT = 0
"""As a signal: send none, the process is about to go by itself."""


class Known(NamedTuple):
    """A process, and the signal that ends it cleanly."""

    pid: int
    identity: str
    sig: int

    @property
    def lives(self) -> bool:
        return identity(self.pid) == self.identity


def processes_of(folder: Path, program: str, sig: int) -> list[Known]:
    """What runs `program` on this data folder (Linux; elsewhere nothing is found)."""
    found = [(pid, identity(pid)) for pid in working_in(folder, program)]
    return [Known(pid, known, sig) for pid, known in found if known]


def end_known(processes: Sequence[Known], patience: float) -> list[int]:
    """Signal these processes all at once, and kill those that still live after `patience` seconds.

    One that has gone, or whose number is another process's now, is left alone. Returns the pids that had to
    be killed.
    """
    for one in processes:
        if one.lives:
            with contextlib.suppress(ProcessLookupError):
                os.kill(one.pid, one.sig)
            _signal_with_group(one.pid, signal.SIGCONT)  # one that was stopped could not hear it
    overdue = _left_after(patience, processes)
    for one in overdue:
        _signal_with_group(one.pid, signal.SIGKILL)
    _left_after(patience, overdue)
    return [one.pid for one in overdue]


def _left_after(patience: float, processes: Sequence[Known]) -> list[Known]:
    """Those that still live after `patience` seconds; at once none when none does."""
    deadline = time.monotonic() + patience
    while (left := [one for one in processes if one.lives]) and time.monotonic() < deadline:
        time.sleep(LOOK_EVERY)
    return left


def _signal_with_group(pid: int, sig: int) -> None:
    """A group is signalled only through its leader: then all of it was started by that process."""
    with contextlib.suppress(ProcessLookupError):
        if os.getpgid(pid) == pid:
            os.killpg(pid, sig)
        else:
            os.kill(pid, sig)
