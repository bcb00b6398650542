"""The command line that the services share."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from functools import partial
from importlib import import_module

from celery import Celery

from atomic_commit import Installation, create_engine
from atomic_commit.cli import verbs
from atomic_commit.workers.command import work
from celery_config import create_celery
from celery_config.installation import installation
from celery_config.manifest import PORTS
from service_roles.engine import atomic_of
from service_roles.migrate import database_url
from service_roles.ownership import at_own_database

_ROLES = {
    "api": "serve HTTP",
    "worker": "run the branches of other services' transactions",
    "outcome-worker": "decide, commit, roll back and recover",
    "migrate": "bring the database to the newest version",
}


def main(package: str, arguments: Sequence[str] | None = None) -> int:
    """Start the service `package` (for example ``users_service``) in the role that the command line names.

    Returns an exit code, when the role is over.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {package}", description=f"Start {package}.")
    roles = parser.add_subparsers(dest="verb", required=True, metavar="ROLE")
    for name, what in _ROLES.items():
        roles.add_parser(name, help=what)
    verbs.add_verbs(roles)
    chosen = parser.parse_args(arguments)
    role = chosen.verb
    try:
        database_url()
        of_this_process = installation()
    except ValueError as error:
        print(f"{package} {role}: {error}", file=sys.stderr)
        return 2
    if role == "migrate":
        from service_roles.migrate import upgrade

        return upgrade(package)
    if role not in _ROLES:
        return _operate(package, of_this_process, chosen)
    service = package.removesuffix("_service")
    if not at_own_database(of_this_process, service, f"{package} {role}"):
        return 2
    return _serve(package, service) if role == "api" else _work(package, service, role, of_this_process)


# What these start runs in this process, which has the service imported already. Starting another program would import
# everything twice: a restart after a crash would take twice as long. (Gunicorn forks its workers from here.)


def _operate(package: str, of_this_process: Installation, chosen: argparse.Namespace) -> int:
    engine = create_engine(database_url(), 1)
    celery, atomic = partial(create_celery, "operator", of_this_process), partial(atomic_of, package, engine)
    try:
        return verbs.run(verbs.Operated(package, of_this_process, engine, celery, atomic), chosen)
    finally:
        engine.dispose()


def _serve(package: str, service: str) -> int:
    os.environ.setdefault("PORT", str(PORTS[service]))
    from gunicorn.app.wsgiapp import run

    sys.argv = ["gunicorn", "--config", "python:http_api.gunicorn_conf", f"{package}:create_app()"]
    run()
    return 0


def _work(package: str, service: str, role: str, of_this_process: Installation) -> int:
    celery: Celery = import_module(f"{package}.celery").celery
    work(celery, of_this_process, service, outcome=role == "outcome-worker")
    return 0
