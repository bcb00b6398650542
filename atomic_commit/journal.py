"""The coordinator's journal: every statement that changes the rows which are the only truth about a transaction.

Functions take the session of the local transaction they belong to; none of them commits. Times are the database's
(``clock_timestamp()``), so that the clocks of the processes don't matter. ``records`` reads the rows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from atomic_commit.records import (
    BranchRecord,
    IdempotencyKey,
    Outcome,
    State,
    TransactionRecord,
    branch_record,
    of_attempt,
    read_all,
    transaction_record,
)
from atomic_commit.schema import transaction_branches as branches_table
from atomic_commit.schema import transactions as table
from atomic_commit.votes import Ballot

_now = func.clock_timestamp()


def _in(seconds: Any) -> Any:
    return _now + sa.func.make_interval(0, 0, 0, 0, 0, 0, seconds)


#: Whatever moves a transaction on shows that it is no hopeless case.
_PROGRESS: dict[str, Any] = {"looks": 0, "failures": 0, "quarantined_at": None}


# ---- begin and dispatch


def take_turn(session: Session, kind: str, attempts_at_once: int) -> bool:
    """Whether a transaction of this kind may go at once, by itself: nobody else waits, fewer attempts than this are
    under way, and nobody is forming one right now. A yes holds until the local transaction ends."""
    return bool(session.scalar(_TAKE_TURN, _turn(kind, attempts_at_once)))


def insert_transaction(
    session: Session,
    transaction: UUID,
    kind: str,
    values: dict[str, Any],
    key: IdempotencyKey | None,
    *,
    deadline: float,
    patience: float,
    look_after: float,
    waits: bool = False,
) -> TransactionRecord:
    """Record an accepted transaction. It waits for an attempt, or leads its first one, which is dispatched (the caller
    publishes right after its commit; if it dies before, the silence is noticed). Raises IntegrityError where the
    idempotency key is taken."""
    row = session.execute(
        _INSERT,
        {
            "id": transaction,
            "kind": kind,
            "waits": waits,
            "values": values,
            "seconds_to_deadline": deadline,
            "seconds_of_patience": patience,
            "seconds_to_look": look_after,
            "idempotency_caller": key.caller if key else None,
            "idempotency_route": key.route if key else None,
            "idempotency_key": key.key if key else None,
            "fingerprint": key.fingerprint if key else None,
        },
    )
    return transaction_record(row.mappings().one(), ())


def take_place(session: Session, transaction: UUID, kind: str) -> bool:
    """Take the place of a transaction that may or may not have begun, with a settled row. False if it had begun."""
    return bool(
        _changed(
            session,
            insert(table)
            .values(
                id=transaction,
                kind=kind,
                state=State.ABORTED,
                attempt=1,
                dispatched=False,
                values={},
                cause={"branch": "begin", "cause": "lost", "reason": "lost", "detail": "begin was lost", "field": None},
                deadline=_now,
                patience_until=_now,
                decided_at=_now,
                settled_at=_now,
            )
            .on_conflict_do_nothing(),
        )
    )


def insert_branches(
    session: Session, transaction: UUID, attempt: int, task_ids: Mapping[str, str]
) -> tuple[BranchRecord, ...]:
    """Record the branches of an attempt (name → task id, in order)."""
    rows = session.execute(
        insert(branches_table)
        .values(
            [
                {
                    "transaction_id": transaction,
                    "attempt": attempt,
                    "name": name,
                    "position": position,
                    "task_id": task_id,
                }
                for position, (name, task_id) in enumerate(task_ids.items())
            ]
        )
        .returning(branches_table)
    )
    return tuple(sorted(map(branch_record, rows.mappings()), key=lambda branch: branch.position))


def somebody_may_go(session: Session, kind: str, attempts_at_once: int) -> bool:
    """Whether a transaction of this kind waits for an attempt, its pause is over, and there is a place. Nothing is
    locked: who claims it looks again."""
    return bool(session.scalar(_MAY_GO, {"kind": kind, "at_once": attempts_at_once}))


def kinds_that_wait(session: Session) -> set[str]:
    """The kinds of which some transaction waits, or is put aside while it does."""
    return set(session.scalars(_KINDS_THAT_WAIT))


def put_aside_kind(session: Session, kind: str, error: str) -> set[UUID]:
    """Quarantine those of a kind that wait, and that nobody here can dispatch. Returns them."""
    statement = update(table).where(table.c.kind == kind, *_WAITS)
    return _changed(session, statement.values(quarantined_at=_now, next_look_at=None, error=error))


def claim_waiting(session: Session, kind: str, attempts_at_once: int, size: int) -> list[TransactionRecord]:
    """Lock the transactions that go into the next attempt, longest waiting first: at most `size`, and one that has to
    go alone goes alone. None while so many attempts are under way, or somebody else is at it.

    One at a time forms attempts of a kind (an advisory lock, held until the local transaction ends). It looks again
    afterwards, so that the others need not wait for it. A transaction whose last attempt is not settled everywhere yet
    is left out: its locks are not gone.
    """
    if not session.scalar(_TURN, {"turns": TURNS, "kind": kind}):
        return []
    if not session.scalar(_MAY_GO, {"kind": kind, "at_once": attempts_at_once}):
        return []
    of_its_last_attempt = sa.or_(
        branches_table.c.transaction_id == table.c.id,
        sa.and_(branches_table.c.transaction_id == table.c.leader, branches_table.c.attempt == table.c.leader_attempt),
    )
    statement = (
        select(table)
        .where(table.c.kind == kind, *_WAITS, ~sa.exists(select(1).where(of_its_last_attempt, *_OWED)))
        .order_by(table.c.waits_until)
        .limit(size)
        .with_for_update(skip_locked=True)
    )
    found = read_all(session, statement)
    if found and found[0].alone:
        return found[:1]
    return [record for record in found if not record.alone]


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
    follows = table.c.id != leader
    session.execute(
        update(table)
        .where(table.c.id.in_([member.id for member in members]))
        .values(
            leader=sa.case((follows, sa.cast(leader, table.c.leader.type))),
            leader_attempt=sa.case((follows, number)),
            waits_until=None,
            dispatched=True,
            patience_until=_in(patience),
            deadline=sa.case(
                (table.c.attempt == 1, func.greatest(table.c.deadline, _in(time_left))), else_=table.c.deadline
            ),
            next_look_at=sa.case((~follows, _in(look_after))),
            **_PROGRESS,
        )
    )
    return leader, number


def mark_dispatched(session: Session, leader: UUID, number: int, *, patience: float, look_after: float) -> bool:
    """Claim the right to publish an attempt that could not be published. False if somebody else has it, or it is
    over."""
    return bool(
        _changed(
            session,
            update(table)
            .where(of_attempt(leader, number), ~table.c.dispatched)
            .values(dispatched=True, patience_until=_in(patience), next_look_at=_for_leaders(look_after), **_PROGRESS),
        )
    )


def mark_unpublished(session: Session, leader: UUID, number: int, pause: float) -> None:
    """Take back the claim: the broker took nothing. Recovery publishes the attempt later, with the same members: the
    broker may have it after all."""
    session.execute(
        update(table)
        .where(of_attempt(leader, number))
        .values(dispatched=False, next_look_at=_for_leaders(pause), error="the broker could not be reached")
    )


# ---- decide


def hold_attempt(session: Session, leader: UUID, number: int) -> set[UUID]:
    """Lock the members of an undecided attempt, in the order of their ids: two deciders would else wait for each other
    in a circle. Returns them."""
    statement = select(table.c.id).where(of_attempt(leader, number)).order_by(table.c.id).with_for_update()
    return set(session.scalars(statement))


def record_decision(
    session: Session,
    leader: UUID,
    number: int,
    members: Sequence[UUID],
    state: State,
    cause: Mapping[str, object] | None,
    look_after: float,
) -> set[UUID]:
    """The conditional update that decides about these members of an attempt. Returns those that it met.

    Whoever wins the first of these updates has decided about the attempt: the others of the same local transaction
    follow it, every other decider finds the rows changed, and nobody decides twice. With the local changes in the same
    local transaction, its commit is the commit point.
    """
    return _changed(
        session,
        _of_these(leader, number, members).values(
            state=state,
            cause=cause,
            decided_at=_now,
            next_look_at=_for_leaders(look_after),
            dispatched=True,
            **_PROGRESS,
        ),
    )


def record_results(session: Session, results: Mapping[UUID, dict[str, Any]]) -> None:
    """Keep what the coordinator's commit function returned, for the client's answer and for its repetitions."""
    if results:
        session.execute(
            _RECORD_RESULTS, {"ids": list(results), "results": [json.dumps(result) for result in results.values()]}
        )


def record_retry(
    session: Session,
    leader: UUID,
    number: int,
    members: Sequence[UUID],
    cause: dict[str, Any] | None,
    pause: float,
    look_after: float,
    *,
    failed: bool = False,
    silent: bool = False,
    alone: bool = False,
) -> set[UUID]:
    """Send these members of an attempt into another one, without a decision: it waits for `pause` seconds and for this
    one to be settled. Returns those that the update met.

    `failed`: it counts among the few that may fail with an unexpected error. `silent`: the next one is listened to for
    longer. `alone`: whatever is wrong is theirs, so they go without others from now on.
    """
    return _changed(
        session,
        _of_these(leader, number, members).values(
            attempt=table.c.attempt + 1,
            failed_attempts=table.c.failed_attempts + int(failed),
            silent_attempts=table.c.silent_attempts + int(silent),
            alone=sa.true() if alone else table.c.alone,
            dispatched=False,
            cause=cause,
            waits_until=_in(pause),
            next_look_at=_for_leaders(look_after),
            **_PROGRESS,
        ),
    )


def record_outcomes(
    session: Session, transaction: UUID, attempt: int, outcome: Outcome, ballots: Sequence[Ballot]
) -> None:
    """Write down what every branch of the attempt voted and what it is told: every branch, whatever it voted."""
    changes: dict[str, Any] = {"outcome": outcome, "decided_at": _now}
    if ballots:
        by_name = branches_table.c.name
        changes["vote"] = sa.case({b.branch: str(b.vote) for b in ballots}, value=by_name, else_=None)
        changes["status"] = sa.case({b.branch: b.status for b in ballots}, value=by_name, else_=None)
    session.execute(update(branches_table).where(_attempt(transaction, attempt)).values(changes))


# ---- settle


def record_settled_branch(session: Session, transaction: UUID, attempt: int, name: str) -> None:
    """A participant has answered the outcome of this branch.

    Locks the transaction's row first: of two answers that arrive at once, each would otherwise miss the other's
    uncommitted one, and neither would be the last.
    """
    session.execute(select(table.c.id).where(table.c.id == transaction).with_for_update())
    session.execute(
        update(branches_table)
        .where(
            _attempt(transaction, attempt),
            branches_table.c.name == name,
            branches_table.c.outcome.is_not(None),
            branches_table.c.settled_at.is_(None),
        )
        .values(settled_at=_now)
    )


def record_settled(session: Session, leader: UUID) -> str | None:
    """Settle whoever was decided in the last attempt that `leader` led, once its participants have all answered; they
    are then out of recovery's sight. Returns the kind of those who were in it and are to go into another one, which
    they may do now, if there are any."""
    owed = select(1).where(branches_table.c.transaction_id == leader, *_OWED)
    decided = table.c.state != State.PREPARING
    settled = session.execute(
        update(table)
        .where(
            sa.or_(sa.and_(table.c.id == leader, table.c.leader.is_(None)), table.c.leader == leader),
            table.c.settled_at.is_(None),
            sa.or_(decided, table.c.waits_until.is_not(None)),
            ~sa.exists(owed),
        )
        .values(
            settled_at=sa.case((decided, _now)),
            next_look_at=None,
            error=None,
            quarantined_at=sa.case((decided, None), else_=table.c.quarantined_at),
        )
        .returning(table.c.state, table.c.kind)
    ).all()
    return next((row.kind for row in settled if row.state == State.PREPARING), None)


# ---- recovery


def claim_due(session: Session, limit: int, pauses: Sequence[float], farthest: float) -> list[tuple[UUID, float]]:
    """Claim transactions that are due for a look: (id, seconds overdue), longest overdue first.

    Each claimed one is put off, further with every look (`pauses[looks]` seconds, the last for all further ones), so
    that two recoverers never hold the same one, one that can't be settled does not crowd out the rest, and a
    recoverer that dies in the middle has lost nothing.

    `farthest`: nothing is ever put off by more seconds. What seems to be was, by a clock that has since been moved
    back, and is due as well.
    """
    due = (
        select(table.c.id, func.extract("epoch", _now - table.c.next_look_at).label("overdue"))
        .where(sa.or_(table.c.next_look_at <= func.now(), table.c.next_look_at > _in(farthest)))
        .order_by(table.c.next_look_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .cte("due")
    )
    steps = sa.case(dict(enumerate(pauses)), value=table.c.looks, else_=pauses[-1])
    put_off = _now + sa.func.make_interval(0, 0, 0, 0, 0, 0, sa.cast(steps, sa.Float))
    listening = sa.and_(table.c.state == State.PREPARING, table.c.dispatched, table.c.patience_until > _now)
    claimed = session.execute(
        update(table)
        .where(table.c.id == due.c.id)
        .values(
            looks=table.c.looks + 1,
            # an attempt whose patience runs out before is looked at right then
            next_look_at=sa.case((listening, func.least(put_off, table.c.patience_until)), else_=put_off),
        )
        .returning(table.c.id, due.c.overdue)
    )
    return [(row.id, float(row.overdue)) for row in claimed]


def make_all_due(session: Session) -> None:
    """Bring everything unsettled forward to now: at a worker's start, what waits has waited long enough."""
    session.execute(update(table).where(table.c.next_look_at > _now).values(next_look_at=_now))
    session.execute(update(table).where(table.c.waits_until > _now).values(waits_until=_now))


def restart_clocks(session: Session, leader: UUID, number: int, patience: float) -> None:
    """Start the attempt's patience anew and leave time before the deadline, because nobody was there to listen."""
    session.execute(
        update(table)
        .where(of_attempt(leader, number))
        .values(patience_until=_in(patience), deadline=func.greatest(table.c.deadline, _in(4 * patience)))
    )


def record_quarantine(session: Session, transaction: UUID, error: str) -> None:
    """Put a transaction aside that can't be settled, with those that share or shared its last attempt: they can't
    either. They stay in the journal, with their decisions, for a person."""
    session.execute(
        update(table)
        .where(_with_others(transaction), table.c.settled_at.is_(None))
        .values(quarantined_at=_now, next_look_at=None, error=error)
    )


def release(session: Session, transaction: UUID) -> bool:
    """Let recovery take up a transaction that was put aside, with those that share its attempt. False for one that is
    not quarantined. The decision, and what was answered, stay as they are.

    It is due since it was put aside: after a long time recovery sees that nobody was there to listen, and holds the
    silence of that time neither against its branches nor against its deadline.
    """
    return bool(
        _changed(
            session,
            update(table)
            .where(_with_others(transaction), table.c.quarantined_at.is_not(None), table.c.settled_at.is_(None))
            .values(next_look_at=table.c.quarantined_at, **_PROGRESS),
        )
    )


def record_error(session: Session, transaction: UUID, error: str) -> int:
    """Keep an unexpected error where people can see it. Returns how many there have been since the last progress."""
    statement = (
        update(table)
        .where(table.c.id == transaction, table.c.settled_at.is_(None))
        .values(error=error, failures=table.c.failures + 1)
        .returning(table.c.failures)
    )
    return session.scalar(statement) or 0


_OWED = (branches_table.c.outcome.is_not(None), branches_table.c.settled_at.is_(None))

_SOMEBODY_WAITS = (
    "EXISTS (SELECT FROM transactions"
    " WHERE kind = :kind AND waits_until <= statement_timestamp() AND quarantined_at IS NULL)"
)
#: The attempts of a kind that are not decided yet, by their leaders.
_UNDER_WAY = (
    "(SELECT count(*) FROM transactions WHERE kind = :kind"
    " AND state = 'preparing' AND waits_until IS NULL AND leader IS NULL AND quarantined_at IS NULL)"
)
_TURN = sa.text("SELECT pg_try_advisory_xact_lock(:turns, hashtext(:kind))")
_MAY_GO = sa.text(f"SELECT {_SOMEBODY_WAITS} AND {_UNDER_WAY} < :at_once")
_TAKE_TURN = sa.text(
    f"SELECT pg_try_advisory_xact_lock(:turns, hashtext(:kind)) AND NOT {_SOMEBODY_WAITS} AND {_UNDER_WAY} < :at_once"
)

#: Made once: to put a statement together costs more than to send it.
_INSERT = (
    insert(table)
    .values(
        state=State.PREPARING,
        attempt=1,
        dispatched=~sa.bindparam("waits", type_=sa.Boolean),
        waits_until=sa.case((sa.bindparam("waits", type_=sa.Boolean), _now)),
        deadline=_in(sa.bindparam("seconds_to_deadline", type_=sa.Float)),
        patience_until=_in(sa.bindparam("seconds_of_patience", type_=sa.Float)),
        next_look_at=sa.case(
            (~sa.bindparam("waits", type_=sa.Boolean), _in(sa.bindparam("seconds_to_look", type_=sa.Float)))
        ),
        **{
            name: sa.bindparam(name, type_=table.c[name].type)
            for name in (
                "id",
                "kind",
                "values",
                "idempotency_caller",
                "idempotency_route",
                "idempotency_key",
                "fingerprint",
            )
        },
    )
    .returning(table, _now.label("read_at"))
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

_RECORD_RESULTS = sa.text(
    "UPDATE transactions SET result = of_one.result::json"
    " FROM unnest(CAST(:ids AS uuid[]), CAST(:results AS text[])) AS of_one (id, result)"
    " WHERE transactions.id = of_one.id"
)

#: The first half of the advisory locks under which attempts are formed; the second is the kind's.
TURNS = 7_219_402


def _turn(kind: str, attempts_at_once: int) -> dict[str, Any]:
    return {"turns": TURNS, "kind": kind, "at_once": attempts_at_once}


#: By the time of the statement, which an index can be asked for: who came while the turn was waited for is there too.
_WAITS = (table.c.waits_until <= func.statement_timestamp(), table.c.quarantined_at.is_(None))


def _for_leaders(seconds: float) -> Any:
    """A look in so many seconds for who leads an attempt. Followers need none: the leader's finds them."""
    return sa.case((table.c.leader.is_(None), _in(seconds)))


def _of_these(leader: UUID, number: int, members: Sequence[UUID]) -> Any:
    return update(table).where(of_attempt(leader, number), table.c.id.in_(members))


def _with_others(transaction: UUID) -> Any:
    """The condition that a row is this transaction's, or of one that is or was last in the same attempt."""
    leader = select(func.coalesce(table.c.leader, table.c.id)).where(table.c.id == transaction).scalar_subquery()
    return sa.or_(table.c.id == leader, table.c.leader == leader)


def _attempt(leader: UUID, number: int) -> Any:
    return sa.and_(branches_table.c.transaction_id == leader, branches_table.c.attempt == number)


def _changed(session: Session, statement: Any) -> set[UUID]:
    """The rows that the conditional update met."""
    return set(session.scalars(statement.returning(table.c.id)))
