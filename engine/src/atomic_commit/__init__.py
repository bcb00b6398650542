"""Changes in several PostgreSQL databases that happen completely or not at all, over Celery.

Two-phase commit (Gray & Reuter, "Transaction Processing", 1993, chapter 7) on PostgreSQL's prepared transactions, with
the coordinator's own change as last resource.

**What a service uses** stands at the top::

    celery = configure(Celery("bank"), installation=…, service="bank", services=("bank", "market"), …)
    atomic = AtomicCommit(service="bank", installation=…, engine=create_engine(URL), celery=celery, branches=…)

``declare``  what a service says of itself: its kinds of transactions and its branches
``engine``   AtomicCommit: begin, wait, find, migrate, checks
``errors``   what may be raised, and what it means for a new try
``limits``   every time limit and count
``names``    the installation, gids, queues, tasks
``votes``    statuses → votes → decision: the protocol's table, as a pure function

**The rooms** behind it, in the order in which a transaction passes through them:

``coordinator/``  the service that a request reaches: begin, decide, recover, wait; who shares an attempt with whom
``wire/``         what travels between services, and the circuit breakers on the way
``participant/``  a service that takes part: prepare, commit, roll back
``journal/``      the coordinator's rows, which are the only truth: each step that writes them, records, listing, tables
``postgres/``     connections and their settings, errors translated, notices, whose database it is, readiness
``verify/``       what a database has forgotten: compared, named, run again
``workers/``      what a Celery app and its workers need
``cli/``          the verbs of ``python -m atomic_commit``
``testing/``      failpoints, and the pytest plugin

To read the protocol: ``votes``, ``participant/prepared``, ``coordinator/coordinator``, ``coordinator/decide``,
``coordinator/recover``. Coordinator and participant don't know each other; what they share is on the wire.

Import rule: this package knows SQLAlchemy, psycopg2 and Celery with what Celery is made of. No Flask, no application.
Arrows between the rooms run down; a test holds them.
"""

from atomic_commit.declare import Branches, TransactionKind, Values
from atomic_commit.engine import AtomicCommit
from atomic_commit.errors import (
    AtomicCommitError,
    Conflict,
    Fenced,
    Impossible,
    KeyReused,
    KeyTaken,
    Lost,
    Missing,
    Paused,
    Refused,
    WrongDatabase,
)
from atomic_commit.journal import migrations
from atomic_commit.journal.records import IdempotencyKey, State, TransactionRecord
from atomic_commit.limits import Limits
from atomic_commit.names import Installation
from atomic_commit.postgres.database import create_engine
from atomic_commit.workers.settings import configure

__all__ = [
    "AtomicCommit",
    "AtomicCommitError",
    "Branches",
    "Conflict",
    "Fenced",
    "IdempotencyKey",
    "Impossible",
    "Installation",
    "KeyReused",
    "KeyTaken",
    "Limits",
    "Lost",
    "Missing",
    "Paused",
    "Refused",
    "State",
    "TransactionKind",
    "TransactionRecord",
    "Values",
    "WrongDatabase",
    "configure",
    "create_engine",
    "migrations",
]
