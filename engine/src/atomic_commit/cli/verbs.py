"""What a person on call asks and does: ``python -m atomic_commit -A <module> transactions | release | in-doubt | …``.

``transactions``  what this service coordinates and is not settled: undecided, owed to a participant, or quarantined;
                  with ``--failed`` what was aborted because of a fault, and which.
``release``       lets recovery take up a quarantined transaction again, once what was wrong with it is repaired.
``in-doubt``      what stands prepared in this service's database, and what its coordinators say about it.
``databases``     which database this is, and in which ones this service's participants prepare.
``unreadable``    messages that no worker could read, of all services, and why.

Nothing here decides, commits or rolls back: that is recovery's, by the journal's rows.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from celery import Celery
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from atomic_commit import journal
from atomic_commit.cli import application, verify
from atomic_commit.cli.coordinators import said_by
from atomic_commit.cli.tables import age, as_table, moment
from atomic_commit.cli.words import seconds, uuid_of
from atomic_commit.engine import AtomicCommit
from atomic_commit.journal import listing, losses, records
from atomic_commit.journal.records import TransactionRecord
from atomic_commit.names import Installation
from atomic_commit.participant.in_doubt import InDoubt, in_doubt
from atomic_commit.postgres.identity import owner_of
from atomic_commit.votes import Cause
from atomic_commit.workers.unreadable import clear, read_kept

#: The causes whose words are for operators alone.
_FAULTS = (str(Cause.DEFECT), str(Cause.FAILED))


@dataclass(frozen=True)
class Operated:
    """The service that is looked at."""

    #: how its command line begins: "python -m users_service"
    program: str
    installation: Installation
    #: of its database
    engine: sa.Engine
    #: makes an app of its installation, by which the result backend is found
    celery: Callable[[], Celery]
    #: the service, where others are asked
    atomic: Callable[[], AtomicCommit]


def add_verbs(verbs: Any) -> None:
    """Add the verbs of this file to a command line (`verbs`: argparse's subparsers, whose ``dest`` is ``verb``)."""
    transactions = verbs.add_parser(
        "transactions", help="list what is undecided, owed or quarantined, the oldest first"
    )
    transactions.add_argument("--state", choices=listing.STATES, help="only those in this state")
    transactions.add_argument("--quarantined", dest="state", action="store_const", const=listing.QUARANTINED)
    transactions.add_argument(
        "--failed",
        action="store_true",
        help="instead: those that were aborted because of a fault, with its words, the newest first",
    )
    transactions.add_argument("--older-than", type=seconds, default=0.0, metavar="SECONDS", help="accepted before that")
    transactions.add_argument("--limit", type=_count, default=50, metavar="N", help="at most so many (50)")
    transactions.add_argument("--json", action="store_true", help="one JSON array, for programs")
    transactions.set_defaults(run=_transactions)

    release = verbs.add_parser("release", help="let recovery take up a quarantined transaction again")
    release.add_argument("transaction", type=uuid_of, metavar="TRANSACTION-ID")
    release.set_defaults(run=_release)

    prepared = verbs.add_parser("in-doubt", help="list what stands prepared in this service's database")
    prepared.add_argument(
        "--ask",
        nargs="+",
        default=[],
        metavar="URL",
        help="services that may coordinate, for example http://127.0.0.1:5001: each is asked about each transaction",
    )
    prepared.set_defaults(run=_in_doubt)

    databases = verbs.add_parser("databases", help="show which database this is, and those of the participants")
    databases.add_argument(
        "--forget",
        metavar="SERVICE",
        help="believe the next database that answers for this participant: after its database was replaced",
    )
    databases.set_defaults(run=_databases)

    unreadable = verbs.add_parser("unreadable", help="list messages that no worker could read, the newest first")
    unreadable.add_argument("--limit", type=_count, default=20, metavar="N", help="at most so many (20)")
    unreadable.add_argument("--json", action="store_true", help="one JSON array, with all that is known of each")
    unreadable.add_argument("--clear", action="store_true", help="forget them, and how many there were")
    unreadable.set_defaults(run=_unreadable)

    application.add_verbs(verbs)
    verify.add_verbs(verbs)


def run(operated: Operated, arguments: argparse.Namespace) -> int:
    """Do what the command line says. Returns an exit code; a database that says no is one line and a 1."""
    try:
        return int(arguments.run(operated, arguments))
    except DBAPIError as error:
        print(f"{operated.program} {arguments.verb}: {str(error.orig).strip().splitlines()[0]}", file=sys.stderr)
        return 1


# ---- transactions


def _transactions(operated: Operated, arguments: argparse.Namespace) -> int:
    with Session(operated.engine) as session:
        if arguments.failed:
            found = listing.aborted_for(session, _FAULTS, limit=arguments.limit)
        else:
            found = listing.not_settled(
                session, arguments.state, older_than=arguments.older_than, limit=arguments.limit
            )
        counts, pause = _counts(session), journal.read_pause(session)
    if arguments.json:
        print(json.dumps([_as_json(record) for record in found], indent=2))
        return 0
    if pause:
        print(f"PAUSED for {age(pause.age)}, nothing is accepted{f': {pause.because}' if pause.because else ''}")
    print(counts)
    if found:
        heads = ("TRANSACTION", "KIND", "STATE", "ATTEMPT", "AGE", "OWED", "ERROR")
        print(as_table(heads, [_row(record) for record in found]))
    return 0


def _counts(session: Session) -> str:
    """One line: how many of each, and how old the oldest is."""
    counts, oldest = listing.counts_of_unsettled(session)
    told = ", ".join(f"{number} {name}" for name, number in counts.items())
    if lost := losses.count_open(session):
        told += f", {lost} LOST (verify tells what)"
    return told if oldest is None else f"{told}; the oldest was accepted {age(oldest)} ago"


def _row(record: TransactionRecord) -> tuple[str, ...]:
    state = str(record.state)
    if record.quarantined_at:
        state += f", {listing.QUARANTINED} for {age((record.read_at - record.quarantined_at).total_seconds())}"
    return (
        str(record.id),
        record.kind,
        state,
        str(record.attempt),
        age((record.read_at - record.created_at).total_seconds()),
        ", ".join(f"{b.outcome} {b.name} (attempt {b.attempt})" for b in record.owed_branches) or "-",
        _trouble(record).splitlines()[0],
    )


def _trouble(record: TransactionRecord) -> str:
    """The last trouble with it; else the words of the fault that its last attempt met."""
    if record.asking_since and not record.decided:
        return record.error or "this database came back older: participants are asked what they know of it"
    cause = record.cause or {}
    if record.error or cause.get("cause") not in _FAULTS:
        return record.error or "-"
    return f"{cause.get('branch')}: {cause.get('reason')}: {cause.get('detail')}"


def _as_json(record: TransactionRecord) -> dict[str, Any]:
    return {
        "id": str(record.id),
        "kind": record.kind,
        "state": listing.QUARANTINED if record.quarantined else str(record.state),
        "decision": str(record.state) if record.decided else None,
        "attempt": record.attempt,
        "age": round((record.read_at - record.created_at).total_seconds(), 3),
        "created_at": moment(record.created_at),
        "quarantined_at": moment(record.quarantined_at),
        "owed": [{"branch": b.name, "attempt": b.attempt, "outcome": str(b.outcome)} for b in record.owed_branches],
        "error": record.error,
        "cause": record.cause,
    }


# ---- release


def _release(operated: Operated, arguments: argparse.Namespace) -> int:
    transaction: UUID = arguments.transaction
    with Session(operated.engine) as session, session.begin():
        before = records.read(session, transaction)
        released = journal.release(session, transaction)
    if released and before:
        print(f"{transaction} is released; recovery takes it up again. It was quarantined because: {before.error}")
        return 0
    if before is None:
        print(f"nothing done: this service coordinates no transaction {transaction}", file=sys.stderr)
    else:
        settled = "settled" if before.settled_at else "not settled"
        print(f"nothing done: {transaction} is not quarantined, it is {before.state} and {settled}", file=sys.stderr)
    return 1


# ---- in doubt


def _in_doubt(operated: Operated, arguments: argparse.Namespace) -> int:
    found = _prepared(operated)
    told = {each.name: said_by(operated.engine, arguments.ask, each.gid) for each in found if each.gid}
    still = {each.name for each in _prepared(operated)}  # some were resolved while their coordinators were asked
    found = [each for each in found if each.name in still]
    ours = [(each, each.gid) for each in found if each.gid]
    print(f"{len(ours)} in doubt in this database, {len(found) - len(ours)} prepared by others")
    if ours:
        rows = [
            (age(each.age), str(gid.transaction), str(gid.attempt), gid.branch, told[each.name]) for each, gid in ours
        ]
        print(as_table(("AGE", "TRANSACTION", "ATTEMPT", "BRANCH", "COORDINATOR"), rows))
    _print_foreign(each for each in found if not each.gid)
    return 0


def _print_foreign(foreign: Iterable[InDoubt]) -> None:
    rows = [(age(each.age), each.owner, each.name) for each in foreign]
    if rows:
        print("\nnot ours, never touched:")
        print(as_table(("AGE", "OWNER", "GID"), rows))


def _prepared(operated: Operated) -> Sequence[InDoubt]:
    with operated.engine.connect() as connection:
        return in_doubt(connection, operated.installation)


# ---- databases


def _databases(operated: Operated, arguments: argparse.Namespace) -> int:
    with Session(operated.engine) as session, session.begin():
        forgotten = journal.forget_database(session, arguments.forget) if arguments.forget else None
        own = owner_of(session.connection())
        known = journal.pinned_databases(session)
    if arguments.forget and not forgotten:
        print(f"nothing done: no database of {arguments.forget!r} is known here", file=sys.stderr)
        return 1
    if forgotten:
        print(f"{forgotten} is forgotten; the next database that answers for {arguments.forget} is believed")
    rows = [("this one", str(own.service), str(own.installation), own.database)]
    rows += [("participant", service, "", database) for service, database in sorted(known.items())]
    print(as_table(("", "SERVICE", "INSTALLATION", "DATABASE"), rows))
    return 0


# ---- unreadable


def _unreadable(operated: Operated, arguments: argparse.Namespace) -> int:
    celery = operated.celery()
    try:
        if arguments.clear:
            clear(celery, operated.installation)
        found, counts = read_kept(celery, operated.installation, arguments.limit)
    except Exception as error:  # the result backend's client raises its own kinds
        print(f"the result backend, where they are kept, can't be asked: {error}", file=sys.stderr)
        return 1
    if arguments.json:
        print(json.dumps(found, indent=2))
        return 0
    told = ", ".join(f"{count} {reason}" for reason, count in sorted(counts.items()))
    print(f"{sum(counts.values())} kept{f': {told}' if told else ''}")
    if found:
        rows = [(r["at"], r["queue"], r["worker"], str(r["size"]), f"{r['reason']}: {r['detail']}") for r in found]
        print(as_table(("AT", "QUEUE", "WORKER", "BYTES", "WHY"), rows))
    return 0


# ---- words of the command line


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= 100_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to 100000")
    return int(text)
