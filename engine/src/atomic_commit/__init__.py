"""atomic_commit: changes in several PostgreSQL databases that happen completely or not at all, over Celery.

Two-phase commit (Gray & Reuter, "Transaction Processing", 1993, chapter 7) on PostgreSQL's prepared transactions, with
the coordinator's own change as last resource. To be read in this order:

``declare``      what a service says: its transactions and its branches
``names``        the installation, gids, task ids, queues
``identity``     which database this is, and whose; ``known_databases``: in which one each participant prepares
``votes``        statuses → votes → decision, pure
``participant``  prepare, commit, rollback of one service's branches
``members``      its function, run for several transactions that share an attempt
``coordinator``  begin, dispatch, decide, acknowledge, look
``acceptance``   the local transactions of begin, each by itself or those that come at the same moment together
``attempts``     who goes at once, who waits, who goes together
``decider``      the votes of one attempt, and what is written down because of them
``recovery``     the sweep that finishes whatever messages have not
``local_calls``  what a service does by itself, once for an Idempotency-Key
``retention``    removes what nobody can need any more
``journal``      writes the rows behind it, ``records`` reads them, ``schema`` their tables
``other_releases`` reads messages of a release that is being replaced
``messages``     what is sent, ``watch`` how a request waits, ``notices`` how it is told
``limits``, ``errors``, ``database``: time limits, what can go wrong, connection settings

Import rule: this package knows SQLAlchemy and Celery. It imports no Flask, no service, and none of the packages beside
it; arrows point towards it (``tests/unit/test_import_rules.py``).
"""

from atomic_commit.declare import Branches, TransactionKind, Values, only_answer
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
    "Refused",
    "State",
    "TransactionKind",
    "TransactionRecord",
    "Values",
    "WrongDatabase",
    "configure",
    "create_engine",
    "migrations",
    "only_answer",
]
