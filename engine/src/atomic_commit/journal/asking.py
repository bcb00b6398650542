"""Which transactions participants are asked about, because this database may have forgotten; and what they testify."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from atomic_commit.journal.holding import MAY_MOVE_ON
from atomic_commit.journal.records import BranchRecord, Outcome, State, branch_record
from atomic_commit.journal.schema import database_identity as identity_table
from atomic_commit.journal.schema import testimonies as table
from atomic_commit.journal.schema import transaction_branches as branches_table
from atomic_commit.journal.schema import transactions as transactions_table
from atomic_commit.journal.terms import NOW, PROGRESS, changed, in_seconds

#: Attempts that a life may have made of which the database knows nothing any more. The next one's number lies beyond
#: them: a number that is given twice would meet the branch rows, and the stored results, of the first time.
JUMP = 1000
#: Where this database is found to have forgotten, nothing is decided about what is undecided then before its
#: participants have testified. They are asked in two seconds: what was sent to them before is mostly with them by then,
#: and is found done; what comes later is void (``participant.epochs``).
FORGOTTEN = (
    "DELETE FROM testimonies",
    "UPDATE transactions SET asking_since = clock_timestamp(), next_look_at ="
    " CASE WHEN quarantined_at IS NULL THEN clock_timestamp() + interval '2 seconds' END WHERE state = 'preparing'",
)

#: SQL: whether this database has forgotten, and not found out yet what it had decided.
FINDS_OUT = (
    "(SELECT forked_at IS NOT NULL AND EXISTS (SELECT FROM transactions"
    " WHERE asking_since IS NOT NULL AND settled_at IS NULL AND quarantined_at IS NULL) FROM database_identity)"
)


def ask_about_attempt(session: Session, leader: UUID, number: int) -> set[UUID]:
    """The same for those that are undecided and were in this attempt, which seems to be decided already. Returns
    them."""
    leads = transactions_table.c.id == leader
    follows = sa.and_(transactions_table.c.leader == leader, transactions_table.c.leader_attempt == number)
    asked = changed(
        session,
        update(transactions_table)
        .where(transactions_table.c.state == State.PREPARING, sa.or_(leads, follows))
        .values(asking_since=NOW, next_look_at=NOW, **PROGRESS),
    )
    session.execute(sa.delete(table).where(table.c.transaction_id.in_(asked)))
    return asked


def record_testimony(session: Session, transaction: UUID, attempt: int, service: str, said: Mapping[str, Any]) -> None:
    """Keep what a participant has testified, over what it has testified before."""
    row = insert(table).values(transaction_id=transaction, attempt=attempt, service=service, found=said)
    session.execute(
        row.on_conflict_do_update(index_elements=table.primary_key.columns, set_={"found": said, "heard_at": NOW})
    )


def read_testimonies(session: Session, transaction: UUID, attempt: int) -> dict[str, Any]:
    """Service → what it has testified."""
    of_it = (table.c.transaction_id == transaction, table.c.attempt == attempt)
    return {row.service: row.found for row in session.execute(select(table.c.service, table.c.found).where(*of_it))}


def forget_testimonies(session: Session, transaction: UUID, attempt: int, services: Sequence[str] = ()) -> None:
    """These are to testify again; without `services`, nobody is asked any more."""
    statement = sa.delete(table).where(table.c.transaction_id == transaction, table.c.attempt == attempt)
    session.execute(statement.where(table.c.service.in_(services)) if services else statement)


def read_branch(session: Session, leader: UUID, number: int, name: str) -> BranchRecord | None:
    """One branch of an attempt, if the journal knows it."""
    key = (branches_table.c.transaction_id, branches_table.c.attempt, branches_table.c.name)
    found = session.execute(select(branches_table).where(sa.tuple_(*key) == (leader, number, name))).mappings().first()
    return branch_record(found) if found else None


def read_outcome(session: Session, leader: UUID, number: int) -> Outcome | None:
    """What the branches of this attempt are told, if the journal knows that."""
    outcome = session.scalar(
        select(branches_table.c.outcome)
        .where(branches_table.c.transaction_id == leader, branches_table.c.attempt == number)
        .where(branches_table.c.outcome.is_not(None))
        .limit(1)
    )
    return Outcome(outcome) if outcome else None


def own_life(session: Session) -> str | None:
    """By what participants tell this database's present life from those before. None: it has never come back older."""
    return session.scalar(select(sa.cast(sa.extract("epoch", identity_table.c.forked_at), sa.Text)))


def reaches_back(session: Session, seconds: float, kept: float) -> bool:
    """Whether a transaction that was begun so many seconds ago would be in this journal: settled ones are kept for
    `kept` seconds, and the database is not newer than that."""
    made = select(identity_table.c.created_at).scalar_subquery()
    return seconds < kept and bool(session.scalar(select(made < in_seconds(-seconds))))


def go_on(session: Session, transaction: UUID, look_after: float) -> bool:
    """Nobody has done anything of it: it goes into another attempt, with a number that was never used. False if it is
    not asked about any more."""
    return bool(
        changed(
            session,
            update(transactions_table)
            .where(*_asked(transaction))
            .values(
                asking_since=None,
                attempt=transactions_table.c.attempt + JUMP,
                dispatched=False,
                waits_until=NOW,
                next_look_at=in_seconds(look_after),
                **PROGRESS,
            ),
        )
    )


def roll_forward(
    session: Session,
    transaction: UUID,
    leader: UUID,
    number: int,
    lock_timeout: float,
) -> bool:
    """Decide to commit, as was decided before in this attempt: the conditional update, as in ``record_decision``. False
    if it is not asked about any more."""
    leads = leader == transaction
    statement = (
        update(transactions_table)
        .where(*_asked(transaction))
        .values(
            state=State.COMMITTED,
            asking_since=None,
            leader=None if leads else leader,
            leader_attempt=None if leads else number,
            attempt=number if leads else transactions_table.c.attempt,
            waits_until=None,
            dispatched=True,
            cause=None,
            error=None,
            decided_at=NOW,
            next_look_at=NOW,
            **PROGRESS,
        )
    )
    met = changed(session, statement)
    session.execute(select(func.set_config("lock_timeout", f"{round(lock_timeout * 1000)}ms", True)))
    return bool(met)


def insert_told(session: Session, leader: UUID, number: int, gids: Mapping[str, str], settled: Sequence[str]) -> None:
    """The branches (name → gid, in order) of an attempt that was decided to commit, of which the participants have done
    `settled`."""
    session.execute(
        _INSERT_TOLD,
        {"leader": leader, "attempt": number, "names": list(gids), "gids": list(gids.values()), "done": list(settled)},
    )


def abandon(session: Session, leader: UUID, number: int, outcome: Outcome) -> None:
    """What the branches of this attempt are told whose members are asked about, if they were told nothing yet."""
    of_it = (branches_table.c.transaction_id == leader, branches_table.c.attempt == number)
    session.execute(
        update(branches_table).where(*of_it, branches_table.c.outcome.is_(None)).values(outcome=outcome, decided_at=NOW)
    )


def _asked(transaction: UUID) -> tuple[Any, ...]:
    columns = transactions_table.c
    return MAY_MOVE_ON, columns.id == transaction, columns.state == State.PREPARING, columns.asking_since.is_not(None)


_INSERT_TOLD = sa.text(
    "INSERT INTO transaction_branches"
    " (transaction_id, attempt, name, position, task_id, outcome, decided_at, settled_at)"
    " SELECT :leader, :attempt, one.name, one.position - 1, one.gid, 'commit', clock_timestamp(),"
    "  CASE WHEN one.name = ANY (CAST(:done AS text[])) THEN clock_timestamp() END"
    " FROM unnest(CAST(:names AS text[]), CAST(:gids AS text[])) WITH ORDINALITY AS one (name, gid, position)"
    " ON CONFLICT (transaction_id, attempt, name) DO UPDATE SET outcome = 'commit',"
    "  decided_at = excluded.decided_at, settled_at = excluded.settled_at"
)
