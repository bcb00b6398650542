"""How the two workers of a service are started."""

from __future__ import annotations

import os
import warnings

from celery import Celery

from atomic_commit.names import Installation

#: Threads of a worker. Branches wait for row locks and round trips, so more than cores; outcome work never waits.
_BRANCH_THREADS = "8"
_OUTCOME_THREADS = "4"

#: Celery warns of workers that run as root because a pickle from the broker would run as root. Ours accept only JSON.
_ROOT_WARNING = "You're running the worker with superuser privileges"


def worker_options(installation: Installation, service: str, *, outcome: bool) -> list[str]:
    """The arguments of ``celery`` for one of the service's two workers.

    Gossip, mingle and heartbeat are talk between workers that nothing here listens to. (What its threads are made of
    is in ``settings``.)
    """
    queue = installation.outcome_queue(service) if outcome else installation.branch_queue(service)
    return [
        "worker",
        *("--queues", queue),
        *("--hostname", f"{queue}@%h"),
        *("--concurrency", os.environ.get("WORKER_THREADS", _OUTCOME_THREADS if outcome else _BRANCH_THREADS)),
        *("--loglevel", os.environ.get("LOG_LEVEL", "INFO")),
        *("--without-gossip", "--without-mingle"),
    ]


def work(celery: Celery, installation: Installation, service: str, *, outcome: bool) -> None:
    """Be that worker, in this process, until told to stop. At level INFO it logs a line that ends in " ready."
    once it takes tasks."""
    warnings.filterwarnings("ignore", _ROOT_WARNING)
    celery.worker_main(["--quiet", *worker_options(installation, service, outcome=outcome)])
