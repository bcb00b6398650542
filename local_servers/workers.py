"""Workers of a service on the engine (`worker`, `outcome-worker`) as programs: when they are ready, which end first."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from local_servers.supervision import Program

CELERY_READY = " ready."
"""In the line that Celery logs once a worker takes tasks."""
STOP_PHASES = {"worker": 1, "outcome-worker": 2}
"""After what takes new work (0). Both finish what they run, and what the first still sends is for the second."""


def worker_program(
    service: str, role: str, command: tuple[str, ...], environment: Mapping[str, str], folder: Path
) -> Program:
    """The program `<service>-<role>`: ``python <command> <role>``, for example ``-m atomic_commit -A bank worker``."""
    return Program(
        name=f"{service}-{role}",
        argv=(sys.executable, *command, role),
        environment=environment,
        folder=folder,
        ready_text=CELERY_READY,
        stop_phase=STOP_PHASES[role],
    )
