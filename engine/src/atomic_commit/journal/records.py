"""What the journal says: its rows as values, and the queries that read them. Nothing here writes.

Functions take the session they belong to. A record is a snapshot: ``read_at`` is the database's clock when it was
taken, so that whether something is due or over is judged by one clock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from atomic_commit.journal.schema import transaction_branches as branches_table
from atomic_commit.journal.schema import transactions as table
from atomic_commit.votes import Cause

#: How the ``error`` of a transaction begins whose words are for operators only.
UNEXPECTED = "unexpected: "


class State(StrEnum):
    """How far the decision is. It changes once."""

    PREPARING = "preparing"  #: accepted; the branches are being prepared, or will be
    COMMITTED = "committed"  #: decided: every branch is or will be committed
    ABORTED = "aborted"  #: decided: every branch is or will be rolled back


class Outcome(StrEnum):
    """What a branch has been told, once its attempt is over."""

    COMMIT = "commit"
    ROLLBACK = "rollback"


@dataclass(frozen=True)
class IdempotencyKey:
    """A client's own name for a request: unique for each caller and route.

    ``caller``: who asks, as the door knows it. ``route``: what is asked for, as "DELETE /users/<int:user_id>". ``key``:
    the client's word. ``fingerprint``: of the whole request; the same key with another one is refused.
    """

    caller: str
    route: str
    key: str
    fingerprint: str


@dataclass(frozen=True)
class BranchRecord:
    """One branch of one attempt, as the coordinator knows it."""

    #: the attempt's leader
    transaction_id: UUID
    #: "service.function"
    name: str
    #: which of the leader's attempts, from 1
    attempt: int
    #: its place in the chain, from 0
    position: int
    #: of the Celery task that prepares it: its gid as text
    task_id: str
    #: when it was recorded, before the chain is sent
    dispatched_at: datetime
    #: Celery's word when the attempt was decided; None until then
    status: str | None
    #: a word of ``votes.Vote``; None until the attempt is decided
    vote: str | None
    #: what it is told; None while the attempt is undecided
    outcome: Outcome | None
    #: when the outcome was written down; None until then
    decided_at: datetime | None
    #: when its participant had answered the outcome; None until then
    settled_at: datetime | None

    @property
    def owed(self) -> bool:
        """Whether the participant still has to answer an outcome."""
        return self.outcome is not None and self.settled_at is None


@dataclass(frozen=True)
class TransactionRecord:
    """One transaction with its branches in order: those of every attempt that it led, and those of its last attempt
    where another transaction leads that.

    ``cause``: why it is aborted or, while it is undecided, why the attempt before was given up. Its members are
    ``branch``, ``cause`` (a word of ``votes.Cause``; "refused" where the business said no), and what was said:
    ``reason``, ``detail``, ``field``. The words of anything but a refusal are for operators only. None while nothing
    was said against it.
    ``values``: what begin returned. ``branch_values``: once it is committed, these and what the branches returned.
    ``result``: what the kind's commit returned; None before that, and for nothing.
    """

    id: UUID
    #: its name without the service: "remove_user"
    kind: str
    state: State
    #: which of its attempts is under way, was the last, or comes next while it waits; from 1
    attempt: int
    #: how many of them failed with an unexpected error
    failed_attempts: int
    #: False: its chain is not sent yet, or the broker did not take it
    dispatched: bool
    values: dict[str, Any]
    result: dict[str, Any] | None
    cause: dict[str, Any] | None
    #: the last trouble with it, in words for operators; None: none so far, or it is settled
    error: str | None
    #: when it was accepted
    created_at: datetime
    #: undecided after this, it is not tried again
    deadline: datetime
    #: the attempt's silence counts as a no after this
    patience_until: datetime
    #: None while it is undecided
    decided_at: datetime | None
    #: when the last participant had answered; None until then
    settled_at: datetime | None
    #: None unless it waits for a person
    quarantined_at: datetime | None
    #: when recovery looks at it; None: never (settled, quarantined, or another one leads its attempt)
    next_look_at: datetime | None
    #: of the request that had an idempotency key; None without a key
    fingerprint: str | None
    #: whose attempt it is or was last part of; None: its own
    leader: UUID | None
    #: which of the leader's attempts; None where it leads
    leader_attempt: int | None
    #: from when on it may go into an attempt; None: it is in one, or decided
    waits_until: datetime | None
    #: whether it shares no attempt any more
    alone: bool
    #: how many of its attempts ended in silence
    silent_attempts: int
    #: what its branches were given and have returned; None before it is committed
    branch_values: dict[str, Any] | None
    #: since when its participants are asked about it, because this database may have forgotten; until they have
    #: testified nothing is decided. None: they are not
    asking_since: datetime | None
    #: the database's clock when this was read
    read_at: datetime
    branches: tuple[BranchRecord, ...] = field(default=())

    @property
    def quarantined(self) -> bool:
        """Whether recovery leaves it alone until a person has looked at it."""
        return self.quarantined_at is not None and self.settled_at is None

    @property
    def decided(self) -> bool:
        return self.state is not State.PREPARING

    @property
    def over(self) -> bool:
        """Whether nothing more follows that a client could see: it is aborted, or its participants have answered."""
        return self.state is State.ABORTED or self.settled_at is not None

    @property
    def waiting(self) -> bool:
        """Whether it is accepted and not part of an attempt."""
        return self.waits_until is not None

    @property
    def late(self) -> bool:
        """Whether it is not to be tried again. (Before the first try there is no "again": whoever stood in line for so
        long is still tried.)"""
        return self.attempt > 1 and self.read_at > self.deadline

    @property
    def led_by(self) -> tuple[UUID, int]:
        """The name of the attempt that it is or was last part of: the leader's id, and which of the leader's it is."""
        return (self.leader, self.leader_attempt or 0) if self.leader else (self.id, self.attempt)

    @property
    def companions(self) -> tuple[UUID, int] | None:
        """The name of the attempt whose members it goes again with, and with nobody else: those that were rolled back
        because of others have been found good together, and strangers may be the next to say no. None for all that are
        free to go with anybody."""
        if not self.waiting or (self.cause or {}).get("cause") != Cause.BESIDE:
            return None
        return (self.leader, self.leader_attempt or 0) if self.leader else (self.id, self.attempt - 1)

    @property
    def current_branches(self) -> tuple[BranchRecord, ...]:
        """The branches of the attempt that is under way or was the last; none while it waits for the next."""
        if self.waiting:
            return ()
        return tuple(b for b in self.branches if (b.transaction_id, b.attempt) == self.led_by)

    @property
    def owed_branches(self) -> tuple[BranchRecord, ...]:
        """The branches, of any attempt, whose participants have not answered yet."""
        return tuple(b for b in self.branches if b.owed)


@dataclass(frozen=True)
class Attempt:
    """One attempt that is under way: a chain, a prepared transaction in each service, a decision; for one transaction
    or for several that share it. Its name is that of one of them, the leader, and which of the leader's attempts it
    is."""

    leader: UUID
    #: which of the leader's attempts, from 1
    number: int
    kind: str
    #: the leader among them, the oldest first
    members: tuple[TransactionRecord, ...]
    #: in the order of the chain; none where it was made only to abort one that is late
    branches: tuple[BranchRecord, ...]
    #: the database's clock when this was read
    read_at: datetime

    @property
    def shared(self) -> bool:
        """Whether several transactions are in it."""
        return len(self.members) > 1

    @property
    def dispatched(self) -> bool:
        return all(member.dispatched for member in self.members)

    @property
    def deadline_over(self) -> bool:
        """Whether there is nobody in it who would be tried again."""
        return self.read_at > max(member.deadline for member in self.members)

    @property
    def patience_left(self) -> float:
        """Seconds until silence counts as a no; negative once it does."""
        return (max(member.patience_until for member in self.members) - self.read_at).total_seconds()

    def told(self, outcome: Outcome) -> tuple[BranchRecord, ...]:
        """Its branches as they are once this has been decided."""
        return tuple(replace(branch, outcome=outcome) for branch in self.branches)

    def __str__(self) -> str:
        others = f" with {len(self.members) - 1} others" if self.shared else ""
        return f"{self.leader}, attempt {self.number}{others}"


def of_attempt(leader: Any, number: Any) -> sa.ColumnElement[bool]:
    """The condition that a row of the transactions table is undecided and part of this attempt. (While participants are
    asked about it, it is nobody's to decide.)"""
    leads = sa.and_(table.c.id == leader, table.c.leader.is_(None), table.c.attempt == number)
    follows = sa.and_(table.c.leader == leader, table.c.leader_attempt == number, table.c.settled_at.is_(None))
    undecided = (table.c.state == State.PREPARING, table.c.waits_until.is_(None), table.c.asking_since.is_(None))
    return sa.and_(*undecided, sa.or_(leads, follows))


def read_attempt(session: Session, leader: UUID, number: int) -> Attempt | None:
    """The attempt with its members, the oldest first (so they are served), or None if it is over."""
    members = read_all(session, _ATTEMPT, {"leading": leader, "number": number})
    return attempt_of(members) if members else None


def attempt_of(members: Sequence[TransactionRecord]) -> Attempt:
    """The attempt that these records, all its members, are part of."""
    one = members[0]
    return Attempt(*one.led_by, one.kind, tuple(members), one.current_branches, one.read_at)


def read(session: Session, transaction: UUID) -> TransactionRecord | None:
    """The transaction with its branches, or None."""
    found = read_many(session, [transaction])
    return found[0] if found else None


def read_by_key(session: Session, key: IdempotencyKey) -> TransactionRecord | None:
    """The transaction that was accepted under this idempotency key, or None."""
    statement = select(table).where(
        table.c.idempotency_caller == key.caller,
        table.c.idempotency_route == key.route,
        table.c.idempotency_key == key.key,
    )
    found = read_all(session, with_time(statement))
    return found[0] if found else None


def read_many(session: Session, ids: Sequence[UUID]) -> list[TransactionRecord]:
    """Those of `ids` that there are, each with its branches."""
    return read_all(session, _MANY, {"ids": list(ids)})


def read_all(
    session: Session, statement: sa.Select[Any], parameters: Mapping[str, Any] | None = None
) -> list[TransactionRecord]:
    """The transactions that `statement` (a select of the transactions table, ``with_time``) finds, each with its
    branches."""
    return _with_branches(session, session.execute(statement, parameters).mappings().all())


def now(session: Session) -> datetime:
    """The time, by the database's clock."""
    found: datetime = session.execute(select(func.clock_timestamp())).scalar_one()
    return found


def with_time(statement: sa.Select[Any]) -> sa.Select[Any]:
    """A select of the transactions table that also says when it was read, by the database's clock."""
    return statement.add_columns(func.clock_timestamp().label("read_at"))


def _with_branches(session: Session, found: Sequence[sa.RowMapping]) -> list[TransactionRecord]:
    leaders = {row["id"] for row in found} | {row["leader"] for row in found if row["leader"]}
    branches: dict[UUID, list[BranchRecord]] = {leader: [] for leader in leaders}
    if branches:
        for row in session.execute(_BRANCHES, {"leaders": list(leaders)}).mappings():
            branches[row["transaction_id"]].append(branch_record(row))
    return [transaction_record(row, _branches_of(row, branches)) for row in found]


def decided_among(session: Session, ids: Sequence[UUID]) -> list[TransactionRecord]:
    """Those of `ids` that are decided, each with its branches."""
    return read_all(session, _DECIDED, {"ids": list(ids)})


#: Made once: to put a statement together costs more than to send it.
_MANY = with_time(select(table).where(table.c.id == sa.any_(sa.bindparam("ids", type_=sa.ARRAY(table.c.id.type)))))
_DECIDED = _MANY.where(table.c.state != State.PREPARING)
_oldest_first = table.c.created_at, table.c.id
_ATTEMPT = with_time(
    select(table)
    .where(of_attempt(sa.bindparam("leading", type_=table.c.id.type), sa.bindparam("number", type_=sa.Integer)))
    .order_by(*_oldest_first)
)
_BRANCHES = (
    select(branches_table)
    .where(branches_table.c.transaction_id == sa.any_(sa.bindparam("leaders", type_=sa.ARRAY(table.c.id.type))))
    .order_by(branches_table.c.attempt, branches_table.c.position)
)


def _branches_of(row: sa.RowMapping, branches: Mapping[UUID, list[BranchRecord]]) -> list[BranchRecord]:
    led = branches[row["id"]]
    if not row["leader"]:
        return led
    return [*led, *(b for b in branches[row["leader"]] if b.attempt == row["leader_attempt"])]


def transaction_record(row: sa.RowMapping, branches: Sequence[BranchRecord]) -> TransactionRecord:
    """The record of a row of the transactions table, which has the time as ``read_at`` besides."""
    return TransactionRecord(
        **{name: row[name] for name in _OF_TRANSACTION}, state=State(row["state"]), branches=tuple(branches)
    )


def branch_record(row: sa.RowMapping) -> BranchRecord:
    """The record of a row of the branches table."""
    return BranchRecord(
        **{name: row[name] for name in _OF_BRANCH}, outcome=Outcome(row["outcome"]) if row["outcome"] else None
    )


def new_branch(leader: UUID, attempt: int, name: str, position: int, task_id: str, at: datetime) -> BranchRecord:
    """A branch that was recorded at that time and has not voted yet."""
    return BranchRecord(leader, name, attempt, position, task_id, at, None, None, None, None, None)


_OF_TRANSACTION = TransactionRecord.__dataclass_fields__.keys() - {"branches", "state"}
_OF_BRANCH = BranchRecord.__dataclass_fields__.keys() - {"outcome"}
