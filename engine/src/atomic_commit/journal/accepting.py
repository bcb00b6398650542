"""A transaction is accepted: with its first attempt, or to wait for one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from atomic_commit.journal.admission import NOBODY_FRESH_WAITS, PLACE_FOR_FRESH, admission
from atomic_commit.journal.holding import ACCEPTS
from atomic_commit.journal.pausing import NOT_PAUSED, paused
from atomic_commit.journal.records import IdempotencyKey, State, TransactionRecord, new_branch, transaction_record
from atomic_commit.journal.schema import transactions as table
from atomic_commit.journal.terms import NOW, changed


def insert_transaction(
    session: Session,
    transaction: UUID,
    kind: str,
    values: dict[str, Any],
    key: IdempotencyKey | None,
    *,
    attempts_at_once: int,
    task_ids: Mapping[str, str],
    deadline: float,
    patience: float,
    look_after: float,
) -> TransactionRecord:
    """Record an accepted transaction. It leads its first attempt, which is dispatched (the caller publishes right after
    its commit; if it dies before, the silence is noticed), with these branches (name → task id, in order); or it waits.

    It goes at once, by itself, if nobody else of its kind waits, fewer attempts than `attempts_at_once` are under way,
    and nobody is forming one right now. That it does holds until the local transaction ends. Raises IntegrityError
    where the idempotency key is taken, Paused where nothing is accepted.
    """
    row = session.execute(
        _ACCEPT,
        {
            **admission(kind, attempts_at_once),
            "id": transaction,
            "values": json.dumps(values),
            "deadline": deadline,
            "patience": patience,
            "look_after": look_after,
            "caller": key.caller if key else None,
            "route": key.route if key else None,
            "idempotency_key": key.key if key else None,
            "fingerprint": key.fingerprint if key else None,
            "names": list(task_ids),
            "task_ids": list(task_ids.values()),
        },
    )
    accepted = row.mappings().first()
    if accepted is None:
        raise paused(session)
    if accepted["begun_at"] is None:
        return transaction_record(accepted, ())
    begun = (
        new_branch(transaction, 1, name, position, task_id, accepted["begun_at"])
        for position, (name, task_id) in enumerate(task_ids.items())
    )
    return transaction_record(accepted, tuple(begun))


def insert_waiting(
    session: Session,
    kind: str,
    values: Mapping[UUID, dict[str, Any]],
    keys: Mapping[UUID, IdempotencyKey | None],
    *,
    deadline: float,
    patience: float,
) -> dict[UUID, TransactionRecord]:
    """Record accepted transactions, all of which wait for an attempt. Raises IntegrityError where the idempotency key
    of one of them is taken, Paused where nothing is accepted."""
    rows = session.execute(
        _ACCEPT_WAITING,
        {
            "kind": kind,
            "deadline": deadline,
            "patience": patience,
            "ids": list(values),
            "values": [json.dumps(own) for own in values.values()],
            "callers": [key.caller if (key := keys[id]) else None for id in values],
            "routes": [key.route if (key := keys[id]) else None for id in values],
            "keys": [key.key if (key := keys[id]) else None for id in values],
            "fingerprints": [key.fingerprint if (key := keys[id]) else None for id in values],
        },
    )
    accepted = {row["id"]: transaction_record(row, ()) for row in rows.mappings()}
    if not accepted:
        raise paused(session)
    return accepted


#: By this cause a row is known that took the place of a transaction.
_PLACE_TAKEN = {"branch": "begin", "cause": "lost", "reason": "lost", "detail": "begin was lost", "field": None}


def take_place(session: Session, transaction: UUID, kind: str) -> bool:
    """Take the place of a transaction that may or may not have begun, with a settled row. False if it had begun.

    May be repeated: the answer to its own commit can be lost as well.
    """
    taken = changed(
        session,
        insert(table)
        .values(
            id=transaction,
            kind=kind,
            state=State.ABORTED,
            attempt=1,
            dispatched=False,
            values={},
            cause=_PLACE_TAKEN,
            deadline=NOW,
            patience_until=NOW,
            decided_at=NOW,
            settled_at=NOW,
        )
        .on_conflict_do_nothing(),
    )
    return bool(taken) or session.scalar(sa.select(table.c.cause).where(table.c.id == transaction)) == _PLACE_TAKEN


#: The statements that every transaction needs are made once: to put one together costs more than to send it.
_ACCEPT = sa.text(
    f"{ACCEPTS} WITH admission AS MATERIALIZED ("
    "  SELECT pg_try_advisory_xact_lock(:locks, hashtext(:kind))"
    f"   AND {NOBODY_FRESH_WAITS} AND {PLACE_FOR_FRESH} AS goes"
    "), accepted AS ("
    "  INSERT INTO transactions (id, kind, state, attempt, dispatched, waits_until, values, deadline, patience_until,"
    "   next_look_at, idempotency_caller, idempotency_route, idempotency_key, fingerprint)"
    "  SELECT :id, :kind, 'preparing', 1, goes, CASE WHEN NOT goes THEN clock_timestamp() END, CAST(:values AS json),"
    "   clock_timestamp() + make_interval(secs => :deadline), clock_timestamp() + make_interval(secs => :patience),"
    "   CASE WHEN goes THEN clock_timestamp() + make_interval(secs => :look_after) END,"
    "   :caller, :route, :idempotency_key, :fingerprint"
    f"  FROM admission WHERE {NOT_PAUSED} RETURNING *"
    "), begun AS ("
    "  INSERT INTO transaction_branches (transaction_id, attempt, name, position, task_id)"
    "  SELECT id, 1, branch.name, branch.position - 1, branch.task_id FROM accepted,"
    "   unnest(CAST(:names AS text[]), CAST(:task_ids AS text[])) WITH ORDINALITY AS branch (name, task_id, position)"
    "  WHERE waits_until IS NULL RETURNING dispatched_at"
    ") SELECT *, (SELECT min(dispatched_at) FROM begun) AS begun_at, clock_timestamp() AS read_at FROM accepted"
).columns(*table.c, *(sa.column(name, sa.DateTime(timezone=True)) for name in ("begun_at", "read_at")))

_ACCEPT_WAITING = sa.text(
    f"{ACCEPTS}"
    " INSERT INTO transactions (id, kind, state, attempt, dispatched, waits_until, values, deadline, patience_until,"
    " idempotency_caller, idempotency_route, idempotency_key, fingerprint)"
    " SELECT id, :kind, 'preparing', 1, false, clock_timestamp(), CAST(own AS json),"
    "  clock_timestamp() + make_interval(secs => :deadline), clock_timestamp() + make_interval(secs => :patience),"
    "  caller, route, key, fingerprint"
    " FROM unnest(CAST(:ids AS uuid[]), CAST(:values AS text[]), CAST(:callers AS text[]), CAST(:routes AS text[]),"
    "  CAST(:keys AS text[]), CAST(:fingerprints AS text[])) AS newcomer (id, own, caller, route, key, fingerprint)"
    f" WHERE {NOT_PAUSED}"
    " RETURNING *, clock_timestamp() AS read_at"
).columns(*table.c, sa.column("read_at", sa.DateTime(timezone=True)))
