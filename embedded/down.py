"""`down`: stop the shop from another terminal, or what a killed launcher left of it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path

from embedded.settings import state_folder
from embedded.shop import Shop
from embedded.status import read_status
from local_servers.errors import LocalServersError
from local_servers.leftovers import stop_leftovers
from local_servers.status import Recorded

ENDS_WITHIN = 180.0
"""Seconds: longer than every phase of a stop with its patience."""


def down(environment: Mapping[str, str]) -> int:
    """Returns 0 when nothing runs afterwards, also when nothing ran before.

    Raises LocalServersError when a launcher does not end in time.
    """
    state = state_folder(environment)
    if not state.is_dir():
        print(f"Nothing runs in {state}.")
        return 0
    status = read_status(state)
    if status is not None and status.launcher.runs:
        _end_launcher(status.launcher, state)
        return 0
    lock = Shop.lock_of(state)
    lock.acquire()
    try:
        ended = stop_leftovers(state, print)
    finally:
        lock.release()
    print(f"Stopped what was left in {state} (processes: {ended})." if ended else f"Nothing runs in {state}.")
    return 0


def _end_launcher(launcher: Recorded, state: Path) -> None:
    assert launcher.pid is not None
    print(f"Stopping the shop in {state} (launcher pid {launcher.pid}) …", flush=True)
    os.kill(launcher.pid, signal.SIGTERM)
    deadline = time.monotonic() + ENDS_WITHIN
    while launcher.runs:
        if time.monotonic() > deadline:
            raise LocalServersError(f"Launcher pid {launcher.pid} did not end within {ENDS_WITHIN:g} s.")
        time.sleep(0.05)
    print("Stopped.")
