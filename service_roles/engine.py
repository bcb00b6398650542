"""The engine of atomic commits in one service of the shop, the same in its API and its workers."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module

from celery import Celery
from sqlalchemy import Engine

from atomic_commit import AtomicCommit, Branches, Limits, TransactionKind, create_engine
from celery_config import create_celery
from celery_config.installation import installation
from celery_config.manifest import CALLERS, CALLS, LOCK_ORDER
from service_roles.migrate import database_url

#: Connections that one process opens when it needs them, and keeps. A request holds one only during its local
#: transaction, never while it waits for a decision.
POOL_SIZE = 20


def atomic_commit_of(
    service: str,
    engine: Engine,
    celery: Celery,
    kinds: Iterable[TransactionKind],
    branches: Branches | None,
    limits: Limits,
) -> AtomicCommit:
    """The engine of `service`, with what the manifest says of it."""
    return AtomicCommit(
        service=service,
        installation=installation(),
        engine=engine,
        celery=celery,
        kinds=kinds,
        branches=branches,
        limits=limits,
        coordinators=CALLERS[service],
        calls=CALLS[service],
        lock_order=LOCK_ORDER,
    )


def atomic_of(package: str, engine: Engine) -> AtomicCommit:
    """The engine of the service `package` on its database, for its command line: it begins no transactions."""
    service, branches = package.removesuffix("_service"), import_module(f"{package}.branches").branches
    return atomic_commit_of(service, engine, create_celery(service), (), branches, Limits.from_environment())


def celery_of(service: str, *, kinds: Iterable[TransactionKind] = (), branches: Branches | None = None) -> Celery:
    """The Celery app of the workers of `service`, from the environment. A worker serves no HTTP, so it has no Flask."""
    limits = Limits.from_environment()
    celery = create_celery(service)
    atomic_commit_of(service, create_engine(database_url(), POOL_SIZE, limits), celery, kinds, branches, limits)
    return celery
