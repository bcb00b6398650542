"""Attempts are formed of those that wait, and are marked as published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from atomic_commit.journal.admission import ADMISSION_LOCKS, FRESH_MAY_GO, SILENT_MAY_GO, admission
from atomic_commit.journal.holding import MOVES_ON
from atomic_commit.journal.records import TransactionRecord, of_attempt, read_all, with_time
from atomic_commit.journal.schema import transaction_branches as branches_table
from atomic_commit.journal.schema import transactions as table
from atomic_commit.journal.terms import (
    IS_MEMBER,
    LEADING,
    NOW,
    NUMBER,
    OWED,
    PROGRESS,
    changed,
    for_leaders,
    given_seconds,
    in_seconds,
)


def insert_branches(session: Session, leader: UUID, attempt: int, task_ids: Mapping[str, str]) -> None:
    """Record the branches of an attempt (name → task id, in order)."""
    session.execute(
        _INSERT_BRANCHES,
        {"leader": leader, "attempt": attempt, "names": list(task_ids), "task_ids": list(task_ids.values())},
    )


def somebody_may_go(session: Session, kind: str, attempts_at_once: int) -> bool:
    """Whether a transaction of this kind waits for an attempt, its pause is over, and there is a place. Nothing is
    locked: who claims it looks again."""
    return bool(_lines_that_may_go(session, kind, attempts_at_once))


def kinds_that_wait(session: Session) -> set[str]:
    """The kinds of which some transaction waits, or is quarantined while it does."""
    return set(session.scalars(_KINDS_THAT_WAIT))


def quarantine_kind(session: Session, kind: str, error: str) -> set[UUID]:
    """Quarantine those of a kind that wait, and that nobody here can dispatch. Returns them."""
    statement = update(table).where(table.c.kind == kind, *_WAITS)
    return changed(session, statement.values(quarantined_at=NOW, next_look_at=None, error=error))


def claim_waiting(session: Session, kind: str, attempts_at_once: int, size: int) -> list[TransactionRecord]:
    """Lock the transactions that go into the next attempt, longest waiting first: at most `size`, and one that has to
    go alone goes alone, one that has companions goes with these. None while so many attempts are under way, or somebody
    else is at it.

    One at a time forms attempts of a kind (an advisory lock, held until the local transaction ends). It looks again
    afterwards, so that the others need not wait for it. A transaction whose last attempt is not settled everywhere yet
    is left out: its locks are not gone.
    """
    if not session.scalar(_ADMISSION, {"locks": ADMISSION_LOCKS, "kind": kind}):
        return []
    lines = _lines_that_may_go(session, kind, attempts_at_once)
    if not lines:
        return []
    found = read_all(session, _WAITING, {"kind": kind, "size": size, "lines": lines})
    if found and found[0].alone:
        return found[:1]
    return [record for record in found if not record.alone and _goes_with(found[0], record)]


def _goes_with(first: TransactionRecord, other: TransactionRecord) -> bool:
    """Whether they may share an attempt: not if only one of them has companions, or has been silent."""
    return other.companions == first.companions and bool(other.silent_attempts) == bool(first.silent_attempts)


def _lines_that_may_go(session: Session, kind: str, attempts_at_once: int) -> list[bool]:
    """Which of the lines has somebody who may go, and a place: that of those who have been silent (True), the other
    one."""
    fresh, silent = session.execute(_MAY_GO, admission(kind, attempts_at_once)).one()
    return [line for line, may_go in ((False, fresh), (True, silent)) if may_go]


def start_attempt(
    session: Session,
    members: Sequence[TransactionRecord],
    *,
    patience: float,
    look_after: float,
    time_left: float,
) -> tuple[UUID, int]:
    """Make one attempt of transactions that wait, led by the first. Returns its name.

    `time_left`: seconds that the first attempt of each has at least before its deadline. That nobody came by in all the
    time before is not their fault.
    """
    leader, number = members[0].id, members[0].attempt
    session.execute(
        _START,
        {
            "leading": leader,
            "number": number,
            "members": [member.id for member in members],
            "patience": patience,
            "look_after": look_after,
            "time_left": time_left,
        },
    )
    return leader, number


def mark_dispatched(session: Session, leader: UUID, number: int, *, patience: float, look_after: float) -> bool:
    """Claim the right to publish an attempt that could not be published. False if somebody else has it, or it is
    over."""
    return bool(
        changed(
            session,
            update(table)
            .where(of_attempt(leader, number), ~table.c.dispatched)
            .values(
                dispatched=True, patience_until=in_seconds(patience), next_look_at=for_leaders(look_after), **PROGRESS
            ),
        )
    )


def mark_unpublished(session: Session, leader: UUID, number: int, pause: float) -> None:
    """Take back the claim: the broker took nothing. Recovery publishes the attempt later, with the same members: the
    broker may have it after all."""
    session.execute(
        update(table)
        .where(of_attempt(leader, number))
        .values(dispatched=False, next_look_at=for_leaders(pause), error="the broker could not be reached")
    )


_ADMISSION = sa.text(f"{MOVES_ON} SELECT pg_try_advisory_xact_lock(:locks, hashtext(:kind))")

_MAY_GO = sa.text(f"SELECT {FRESH_MAY_GO} AS fresh, {SILENT_MAY_GO} AS silent")

#: By the time of the statement, which an index can be asked for: who came while the turn was waited for is there too.
_WAITS = (table.c.waits_until <= func.statement_timestamp(), table.c.quarantined_at.is_(None))

_of_its_last_attempt = sa.or_(
    branches_table.c.transaction_id == table.c.id,
    sa.and_(branches_table.c.transaction_id == table.c.leader, branches_table.c.attempt == table.c.leader_attempt),
)

_WAITING = with_time(
    select(table)
    .where(
        table.c.kind == sa.bindparam("kind"),
        (table.c.silent_attempts > 0) == sa.any_(sa.bindparam("lines", type_=sa.ARRAY(sa.Boolean))),
        *_WAITS,
        table.c.asking_since.is_(None),
        ~sa.exists(select(1).where(_of_its_last_attempt, *OWED)),
    )
    .order_by(table.c.waits_until)
    .limit(sa.bindparam("size", type_=sa.Integer))
    .with_for_update(skip_locked=True)
)

_follows = table.c.id != LEADING

_START = (
    update(table)
    .where(IS_MEMBER)
    .values(
        leader=sa.case((_follows, LEADING)),
        leader_attempt=sa.case((_follows, NUMBER)),
        waits_until=None,
        dispatched=True,
        patience_until=in_seconds(given_seconds("patience")),
        deadline=sa.case(
            (table.c.attempt == 1, func.greatest(table.c.deadline, in_seconds(given_seconds("time_left")))),
            else_=table.c.deadline,
        ),
        next_look_at=sa.case((~_follows, in_seconds(given_seconds("look_after")))),
        **PROGRESS,
    )
)

_INSERT_BRANCHES = sa.text(
    "INSERT INTO transaction_branches (transaction_id, attempt, name, position, task_id)"
    " SELECT :leader, :attempt, branch.name, branch.position - 1, branch.task_id FROM"
    " unnest(CAST(:names AS text[]), CAST(:task_ids AS text[])) WITH ORDINALITY AS branch (name, task_id, position)"
)

#: From one kind to the next by the index, past however many wait of each
#: (https://wiki.postgresql.org/wiki/Loose_indexscan).
_KINDS_THAT_WAIT = sa.text(
    "WITH RECURSIVE waiting (kind) AS ("
    " SELECT min(kind) FROM transactions WHERE waits_until IS NOT NULL"
    " UNION ALL"
    " SELECT (SELECT min(kind) FROM transactions WHERE waits_until IS NOT NULL AND kind > waiting.kind)"
    " FROM waiting WHERE waiting.kind IS NOT NULL"
    ") SELECT kind FROM waiting WHERE kind IS NOT NULL"
)
