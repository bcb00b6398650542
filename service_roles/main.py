"""The command line that the three services share."""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Sequence

from atomic_commit.names import Installation
from celery_config.installation import installation
from celery_config.manifest import PORTS
from service_roles import operator
from service_roles.ownership import at_own_database

_ROLES = {
    "api": "serve HTTP",
    "worker": "run the branches of other services' transactions",
    "outcome-worker": "decide, commit, roll back and recover",
    "migrate": "bring the database to the newest version",
}

#: Threads of a worker. Branches wait for row locks and round trips, so more than cores; outcome work never waits.
_BRANCH_THREADS = "8"
_OUTCOME_THREADS = "4"

#: Celery warns of workers that run as root because a pickle from the broker would run as root. Ours accept only JSON.
_ROOT_WARNING = "You're running the worker with superuser privileges"


def main(package: str, arguments: Sequence[str] | None = None) -> int:
    """Start the service `package` (for example ``users_service``) in the role that the command line names.

    Returns an exit code, when the role is over.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {package}", description=f"Start {package}.")
    roles = parser.add_subparsers(dest="role", required=True, metavar="ROLE")
    for name, what in _ROLES.items():
        roles.add_parser(name, help=what)
    operator.add_roles(roles)
    chosen = parser.parse_args(arguments)
    role = chosen.role
    if not os.environ.get("DATABASE_URL"):
        print(
            f"{package} {role}: DATABASE_URL is not set; for example postgresql://user:password@host:5432/database",
            file=sys.stderr,
        )
        return 2
    try:
        of_this_process = installation()
    except ValueError as error:
        print(f"{package} {role}: {error}", file=sys.stderr)
        return 2
    if role == "migrate":
        from service_roles.migrate import upgrade

        return upgrade(package)
    if role not in _ROLES:
        return operator.run(package, chosen)
    service = package.removesuffix("_service")
    if not at_own_database(of_this_process, service, f"{package} {role}"):
        return 2
    return _serve(package, service) if role == "api" else _work(package, service, role, of_this_process)


# What these start runs in this process, which has the service imported already. Starting another program would import
# everything twice: a restart after a crash would take twice as long. (Gunicorn forks its workers from here.)


def _serve(package: str, service: str) -> int:
    os.environ.setdefault("PORT", str(PORTS[service]))
    from gunicorn.app.wsgiapp import run

    sys.argv = ["gunicorn", "--config", "python:http_api.gunicorn_conf", f"{package}:create_app()"]
    run()
    return 0


def _work(package: str, service: str, role: str, of_this_process: Installation) -> int:
    from celery.__main__ import main as celery_main

    warnings.filterwarnings("ignore", _ROOT_WARNING)
    sys.argv = ["celery", "--quiet", "-A", package, *worker_options(of_this_process, service, role)]
    celery_main()
    return 0


def worker_options(of_this_process: Installation, service: str, role: str) -> list[str]:
    """The arguments of ``celery`` for one of the service's two workers.

    Gossip, mingle and heartbeat are talk between workers that nothing here listens to. (What its threads are made of
    is in ``atomic_commit.workers.settings``.)
    """
    outcome = role == "outcome-worker"
    queue = of_this_process.outcome_queue(service) if outcome else of_this_process.branch_queue(service)
    return [
        "worker",
        *("--queues", queue),
        *("--hostname", f"{queue}@%h"),
        *("--concurrency", os.environ.get("WORKER_THREADS", _OUTCOME_THREADS if outcome else _BRANCH_THREADS)),
        *("--loglevel", os.environ.get("LOG_LEVEL", "INFO")),
        *("--without-gossip", "--without-mingle"),
    ]
