"""Votes, decisions, and what every branch is told."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from atomic_commit.journal.holding import MAY_MOVE_ON
from atomic_commit.journal.records import Outcome, State, of_attempt
from atomic_commit.journal.schema import transactions as table
from atomic_commit.journal.terms import (
    IS_MEMBER,
    LEADING,
    NOW,
    NUMBER,
    PROGRESS,
    changed,
    for_leaders,
    given_seconds,
    in_seconds,
)
from atomic_commit.postgres.notices import NOTICE
from atomic_commit.votes import KEEP_THEIR_KEY, Ballot


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
    lock_timeout: float,
) -> set[UUID]:
    """The conditional update that decides about these members of an attempt. Returns those that it met.

    Whoever wins the first of these updates has decided about the attempt: the others of the same local transaction
    follow it, every other decider finds the rows changed, and nobody decides twice. With the local changes in the same
    local transaction, its commit is the commit point.

    From here on the local transaction waits for no lock for longer than `lock_timeout` seconds.

    An abort that another try may avoid frees its idempotency key: the client is told to try again, and the same key
    must not answer it with this abort.
    """
    worth_another_try = state is State.ABORTED and (cause or {}).get("cause") not in KEEP_THEIR_KEY
    met = session.scalars(
        _DECIDE,
        {
            "leading": leader,
            "number": number,
            "members": list(members),
            "new_state": state,
            "new_cause": cause,
            "frees_key": worth_another_try,
            "look_after": look_after,
            "lock_timeout": f"{round(lock_timeout * 1000)}ms",
        },
    )
    return set(met)


def record_commit(
    session: Session, values: Mapping[UUID, dict[str, Any]], results: Mapping[UUID, dict[str, Any]]
) -> None:
    """Keep of each committed transaction the `values` that its branches were given and have returned, from which a
    branch that a participant forgets could be run again; and what the coordinator's commit function returned, for the
    client's answer and for its repetitions."""
    session.execute(
        _RECORD_COMMIT,
        {
            "ids": list(values),
            "branch_values": [json.dumps(of_one) for of_one in values.values()],
            "results": [json.dumps(results[one]) if one in results else None for one in values],
        },
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
    return changed(
        session,
        update(table)
        .where(MAY_MOVE_ON, of_attempt(leader, number), table.c.id.in_(members))
        .values(
            attempt=table.c.attempt + 1,
            failed_attempts=table.c.failed_attempts + int(failed),
            silent_attempts=table.c.silent_attempts + int(silent),
            alone=sa.true() if alone else table.c.alone,
            dispatched=False,
            cause=cause,
            waits_until=in_seconds(pause),
            next_look_at=for_leaders(look_after),
            **PROGRESS,
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
    """Notify whoever waits for a decision, when this local transaction commits."""
    session.execute(_TELL_WHO_WAITS)


_HOLD = select(table.c.id).where(MAY_MOVE_ON, of_attempt(LEADING, NUMBER)).order_by(table.c.id).with_for_update()

_DECIDE = (
    update(table)
    .where(MAY_MOVE_ON, of_attempt(LEADING, NUMBER), IS_MEMBER)
    .values(
        state=sa.bindparam("new_state"),
        cause=sa.bindparam("new_cause", type_=table.c.cause.type),
        idempotency_key=sa.case((~sa.bindparam("frees_key", type_=sa.Boolean), table.c.idempotency_key)),
        decided_at=NOW,
        next_look_at=for_leaders(given_seconds("look_after")),
        dispatched=True,
        **PROGRESS,
    )
    .returning(table.c.id, func.set_config("lock_timeout", sa.bindparam("lock_timeout", type_=sa.Text), True))
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

_TELL_WHO_WAITS = select(NOTICE)

_RECORD_COMMIT = sa.text(
    "UPDATE transactions SET branch_values = of_one.branch_values::json, result = of_one.result::json"
    " FROM unnest(CAST(:ids AS uuid[]), CAST(:branch_values AS text[]), CAST(:results AS text[]))"
    " AS of_one (id, branch_values, result) WHERE transactions.id = of_one.id"
)
