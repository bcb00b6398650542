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

from atomic_commit.notices import NOTICE
from atomic_commit.records import (
    IdempotencyKey,
    Outcome,
    State,
    TransactionRecord,
    new_branch,
    of_attempt,
    read_all,
    transaction_record,
    with_time,
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
    where the idempotency key is taken.
    """
    row = session.execute(
        _ACCEPT,
        {
            **_turn(kind, attempts_at_once),
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
    accepted = row.mappings().one()
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
    of one of them is taken."""
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
    return {row["id"]: transaction_record(row, ()) for row in rows.mappings()}


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


def insert_branches(session: Session, leader: UUID, attempt: int, task_ids: Mapping[str, str]) -> None:
    """Record the branches of an attempt (name → task id, in order)."""
    session.execute(
        _INSERT_BRANCHES,
        {"leader": leader, "attempt": attempt, "names": list(task_ids), "task_ids": list(task_ids.values())},
    )


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
    found = read_all(session, _WAITING, {"kind": kind, "size": size})
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
    return set(session.scalars(_HOLD, {"leading": leader, "number": number}))


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
    met = session.scalars(
        _DECIDE,
        {
            "leading": leader,
            "number": number,
            "members": list(members),
            "new_state": state,
            "new_cause": cause,
            "look_after": look_after,
        },
    )
    return set(met)


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
        update(table)
        .where(of_attempt(leader, number), table.c.id.in_(members))
        .values(
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
    told = {
        "names": [ballot.branch for ballot in ballots],
        "votes": [str(ballot.vote) for ballot in ballots],
        "statuses": [ballot.status for ballot in ballots],
    }
    session.execute(_TELL, {"leader": transaction, "attempt": attempt, "outcome": outcome, **told})


def tell_who_waits(session: Session) -> None:
    """With this local transaction something is over."""
    session.execute(_TELL_WHO_WAITS)


# ---- settle


def record_settled_branch(session: Session, transaction: UUID, attempt: int, name: str) -> None:
    """A participant has answered the outcome of this branch.

    Locks the transaction's row first: of two answers that arrive at once, each would otherwise miss the other's
    uncommitted one, and neither would be the last.
    """
    session.execute(_ANSWERED, {"leader": transaction, "attempt": attempt, "name": name})


def record_settled(session: Session, leader: UUID) -> str | None:
    """Settle whoever was decided in the last attempt that `leader` led, once its participants have all answered; they
    are then out of recovery's sight. Returns the kind of those who were in it and are to go into another one, which
    they may do now, if there are any."""
    settled = session.execute(_SETTLE, {"leading": leader}).all()
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

#: The statements that every transaction needs are made once: to put one together costs more than to send it.
_ACCEPT = sa.text(
    "WITH turn AS MATERIALIZED ("
    "  SELECT pg_try_advisory_xact_lock(:turns, hashtext(:kind))"
    f"   AND NOT {_SOMEBODY_WAITS} AND {_UNDER_WAY} < :at_once AS goes"
    "), accepted AS ("
    "  INSERT INTO transactions (id, kind, state, attempt, dispatched, waits_until, values, deadline, patience_until,"
    "   next_look_at, idempotency_caller, idempotency_route, idempotency_key, fingerprint)"
    "  SELECT :id, :kind, 'preparing', 1, goes, CASE WHEN NOT goes THEN clock_timestamp() END, CAST(:values AS json),"
    "   clock_timestamp() + make_interval(secs => :deadline), clock_timestamp() + make_interval(secs => :patience),"
    "   CASE WHEN goes THEN clock_timestamp() + make_interval(secs => :look_after) END,"
    "   :caller, :route, :idempotency_key, :fingerprint"
    "  FROM turn RETURNING *"
    "), begun AS ("
    "  INSERT INTO transaction_branches (transaction_id, attempt, name, position, task_id)"
    "  SELECT id, 1, branch.name, branch.position - 1, branch.task_id FROM accepted,"
    "   unnest(CAST(:names AS text[]), CAST(:task_ids AS text[])) WITH ORDINALITY AS branch (name, task_id, position)"
    "  WHERE waits_until IS NULL RETURNING dispatched_at"
    ") SELECT *, (SELECT min(dispatched_at) FROM begun) AS begun_at, clock_timestamp() AS read_at FROM accepted"
).columns(*table.c, *(sa.column(name, sa.DateTime(timezone=True)) for name in ("begun_at", "read_at")))

_ACCEPT_WAITING = sa.text(
    "INSERT INTO transactions (id, kind, state, attempt, dispatched, waits_until, values, deadline, patience_until,"
    " idempotency_caller, idempotency_route, idempotency_key, fingerprint)"
    " SELECT id, :kind, 'preparing', 1, false, clock_timestamp(), CAST(own AS json),"
    "  clock_timestamp() + make_interval(secs => :deadline), clock_timestamp() + make_interval(secs => :patience),"
    "  caller, route, key, fingerprint"
    " FROM unnest(CAST(:ids AS uuid[]), CAST(:values AS text[]), CAST(:callers AS text[]), CAST(:routes AS text[]),"
    "  CAST(:keys AS text[]), CAST(:fingerprints AS text[])) AS newcomer (id, own, caller, route, key, fingerprint)"
    " RETURNING *, clock_timestamp() AS read_at"
).columns(*table.c, sa.column("read_at", sa.DateTime(timezone=True)))

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


def _with_others(transaction: UUID) -> Any:
    """The condition that a row is this transaction's, or of one that is or was last in the same attempt."""
    leader = select(func.coalesce(table.c.leader, table.c.id)).where(table.c.id == transaction).scalar_subquery()
    return sa.or_(table.c.id == leader, table.c.leader == leader)


def _attempt(leader: UUID, number: int) -> Any:
    return sa.and_(branches_table.c.transaction_id == leader, branches_table.c.attempt == number)


def _changed(session: Session, statement: Any) -> set[UUID]:
    """The rows that the conditional update met."""
    return set(session.scalars(statement.returning(table.c.id)))


# ---- made once (see _ACCEPT)

_leading = sa.bindparam("leading", type_=table.c.id.type)
_number = sa.bindparam("number", type_=sa.Integer)
_follows = table.c.id != _leading
_is_member = table.c.id == sa.any_(sa.bindparam("members", type_=sa.ARRAY(table.c.id.type)))


def _seconds(name: str) -> Any:
    return sa.bindparam(name, type_=sa.Float)


_of_its_last_attempt = sa.or_(
    branches_table.c.transaction_id == table.c.id,
    sa.and_(branches_table.c.transaction_id == table.c.leader, branches_table.c.attempt == table.c.leader_attempt),
)
_WAITING = with_time(
    select(table)
    .where(table.c.kind == sa.bindparam("kind"), *_WAITS, ~sa.exists(select(1).where(_of_its_last_attempt, *_OWED)))
    .order_by(table.c.waits_until)
    .limit(sa.bindparam("size", type_=sa.Integer))
    .with_for_update(skip_locked=True)
)

_START = (
    update(table)
    .where(_is_member)
    .values(
        leader=sa.case((_follows, _leading)),
        leader_attempt=sa.case((_follows, _number)),
        waits_until=None,
        dispatched=True,
        patience_until=_in(_seconds("patience")),
        deadline=sa.case(
            (table.c.attempt == 1, func.greatest(table.c.deadline, _in(_seconds("time_left")))),
            else_=table.c.deadline,
        ),
        next_look_at=sa.case((~_follows, _in(_seconds("look_after")))),
        **_PROGRESS,
    )
)

_HOLD = select(table.c.id).where(of_attempt(_leading, _number)).order_by(table.c.id).with_for_update()

_DECIDE = (
    update(table)
    .where(of_attempt(_leading, _number), _is_member)
    .values(
        state=sa.bindparam("new_state"),
        cause=sa.bindparam("new_cause", type_=table.c.cause.type),
        decided_at=_now,
        next_look_at=_for_leaders(_seconds("look_after")),
        dispatched=True,
        **_PROGRESS,
    )
    .returning(table.c.id)
)

_BALLOT = (
    "unnest(CAST(:names AS text[]), CAST(:votes AS text[]), CAST(:statuses AS text[])) AS ballot (name, vote, status)"
    " WHERE ballot.name = transaction_branches.name"
)
_TELL = sa.text(
    "UPDATE transaction_branches SET outcome = :outcome, decided_at = clock_timestamp(),"
    f" vote = (SELECT ballot.vote FROM {_BALLOT}), status = (SELECT ballot.status FROM {_BALLOT})"
    " WHERE transaction_id = :leader AND attempt = :attempt"
)

_ANSWERED = sa.text(
    # Not flushed: an answer that a crash of the server takes away is asked for again.
    "SET LOCAL synchronous_commit = off;"
    # The lock comes first: the statement after this one sees what whoever held it has committed.
    " WITH held AS MATERIALIZED (SELECT id FROM transactions WHERE id = :leader FOR UPDATE)"
    " UPDATE transaction_branches SET settled_at = clock_timestamp() FROM held"
    " WHERE transaction_id = held.id AND attempt = :attempt AND name = :name"
    " AND outcome IS NOT NULL AND settled_at IS NULL"
)

_TELL_WHO_WAITS = select(NOTICE)

_decided = table.c.state != State.PREPARING
_SETTLE = (
    update(table)
    .where(
        sa.or_(sa.and_(table.c.id == _leading, table.c.leader.is_(None)), table.c.leader == _leading),
        table.c.settled_at.is_(None),
        sa.or_(_decided, table.c.waits_until.is_not(None)),
        ~sa.exists(select(1).where(branches_table.c.transaction_id == _leading, *_OWED)),
    )
    .values(
        settled_at=sa.case((_decided, _now)),
        next_look_at=None,
        error=None,
        quarantined_at=sa.case((_decided, None), else_=table.c.quarantined_at),
    )
    .returning(table.c.state, table.c.kind, NOTICE)
)
