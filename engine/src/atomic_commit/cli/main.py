"""Parse the command line, find the service, do what is asked."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from sqlalchemy.exc import OperationalError

from atomic_commit.cli import verbs
from atomic_commit.engine import AtomicCommit
from atomic_commit.errors import WrongDatabase
from atomic_commit.workers.command import work

_PROGRAM = "python -m atomic_commit"
#: What the service's object is called, unless ``-A module:name`` says otherwise.
_NAME = "atomic"
_WORKERS = {"worker": False, "outcome-worker": True}


def command() -> None:
    """What is installed as ``atomic-commit``."""
    sys.exit(main(sys.argv[1:]))


def main(words: Sequence[str]) -> int:
    """Do what these words say. Returns an exit code."""
    parser = argparse.ArgumentParser(prog=_PROGRAM, description="One service's transactions.")
    parser.add_argument(
        "-A",
        dest="app",
        required=True,
        metavar="MODULE[:NAME]",
        help=f"where the service's AtomicCommit object is; NAME is {_NAME!r} unless given",
    )
    subparsers = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    subparsers.add_parser("migrate", help="bring the engine's tables up, and make the database the service's own")
    subparsers.add_parser("worker", help="run the branches of other services' transactions")
    subparsers.add_parser("outcome-worker", help="decide, commit, roll back and recover")
    verbs.add_verbs(subparsers)
    arguments = parser.parse_args(words)
    atomic = _find(arguments.app, parser)
    if arguments.verb == "migrate":
        return _migrate(atomic)
    if arguments.verb in _WORKERS:
        work(atomic.celery, atomic.installation, atomic.service, outcome=_WORKERS[arguments.verb])
        return 0
    operated = verbs.Operated(_PROGRAM, atomic.installation, atomic.engine, lambda: atomic.celery, lambda: atomic)
    return verbs.run(operated, arguments)


def _find(app: str, parser: argparse.ArgumentParser) -> AtomicCommit:
    module, _, name = app.partition(":")
    sys.path.insert(0, os.getcwd())  # as celery and flask do
    try:
        found = getattr(import_module(module), name or _NAME)
    except ModuleNotFoundError as error:
        if error.name and not module.startswith(error.name):
            raise
        parser.error(f"there is no module {module!r} here")
    except ValueError as error:
        parser.error(str(error))
    except AttributeError:
        parser.error(f"{module} has no {name or _NAME!r}: name its AtomicCommit object, -A {module}:NAME")
    if not isinstance(found, AtomicCommit):
        parser.error(f"{module}.{name or _NAME} is no AtomicCommit but {type(found).__name__}")
    return found


def _migrate(atomic: AtomicCommit) -> int:
    try:
        atomic.migrate()
    except WrongDatabase as error:
        print(f"{_PROGRAM} migrate: {error}", file=sys.stderr)
        return 2
    except OperationalError as error:
        print(f"{_PROGRAM} migrate: {str(error.orig).strip()}", file=sys.stderr)
        return 1
    return 0
