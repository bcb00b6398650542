"""The journal, read for a comparison with the participants' branch rows. Nothing here writes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from atomic_commit.declare import Values
from atomic_commit.names import Gid

#: The place of a transaction in the order in which they were accepted.
Place = tuple[datetime, UUID]
#: The name of an attempt: who leads it, and which of the leader's it is.
Attempt = tuple[UUID, int]

_ATTEMPT = "coalesce(leader, id) AS leading, CASE WHEN leader IS NULL THEN attempt ELSE leader_attempt END AS number"
_COLUMNS = (
    f"id, {_ATTEMPT}, created_at, coalesce(decided_at, created_at) AS decided_at,"
    " state = 'committed' AND coalesce(settled_at, quarantined_at) IS NOT NULL AS over,"
    " coalesce(settled_at, quarantined_at) AS over_at,"
    " extract(epoch FROM clock_timestamp() - coalesce(settled_at, quarantined_at)) AS age"
)
#: In the order of the index, and no more than so many rows at a time, whatever they are.
_PAGE = sa.text(
    f"SELECT {_COLUMNS} FROM transactions WHERE (created_at, id) > (:at, :id) AND created_at <= :until"
    " ORDER BY created_at, id LIMIT :size"
)
#: All who were in an attempt with it, or in one that it has led. (Reads the whole table: for a person, once.)
_OF_ONE = sa.text(
    f"SELECT {_COLUMNS} FROM transactions"
    " WHERE id = :id OR leader = :id OR leader = (SELECT leader FROM transactions WHERE id = :id)"
    " OR id = (SELECT leader FROM transactions WHERE id = :id)"
)
_ATTEMPTS = "unnest(CAST(:leaders AS uuid[]), CAST(:numbers AS integer[])) AS wanted (transaction_id, attempt)"
_TOLD = sa.text(
    "SELECT transaction_id, attempt, name, task_id,"
    " extract(epoch FROM clock_timestamp() - dispatched_at) AS age"
    f" FROM transaction_branches JOIN {_ATTEMPTS} USING (transaction_id, attempt)"
    " WHERE outcome = 'commit' AND dispatched_at > clock_timestamp() - make_interval(secs => :kept)"
    " ORDER BY transaction_id, attempt, position"
)
_VALUES = sa.text('SELECT id, "values", branch_values FROM transactions WHERE id = ANY (CAST(:ids AS uuid[]))').columns(
    sa.column("id", sa.UUID), sa.column("values", sa.JSON), sa.column("branch_values", sa.JSON)
)
_STATES = sa.text(
    f"SELECT id, {_ATTEMPT}, state, settled_at IS NULL AS under_way FROM transactions"
    " WHERE id = ANY (CAST(:ids AS uuid[]))"
)


@dataclass(frozen=True)
class Accepted:
    """One transaction. ``attempt``: that in which it is, or was last. ``over``: it is committed and settled, or
    quarantined, since ``over_at``, which is ``age`` seconds ago."""

    id: UUID
    attempt: Attempt
    created_at: datetime
    decided_at: datetime
    over: bool
    over_at: datetime | None
    age: float


@dataclass(frozen=True)
class ToldBranch:
    """A branch of an attempt that was told to commit; ``age``: seconds since the attempt was dispatched."""

    attempt: Attempt
    gid: Gid
    age: float


def page(session: Session, after: Place, until: datetime, size: int) -> list[Accepted]:
    """The next transactions in the order in which they were accepted, at most `size`."""
    given = {"at": after[0], "id": after[1], "until": until, "size": size}
    return [_accepted(row) for row in session.execute(_PAGE, given)]


def with_companions(session: Session, transaction: UUID) -> list[Accepted]:
    """The transaction, and those who share its attempt or one that it has led; empty where there is none of this id."""
    found = [_accepted(row) for row in session.execute(_OF_ONE, {"id": transaction})]
    own = {one.attempt for one in found if one.id == transaction}
    return [one for one in found if one.attempt in own or one.attempt[0] == transaction]


def told_branches(session: Session, attempts: Collection[Attempt], kept: float) -> list[ToldBranch]:
    """What was told to commit in these attempts, in order, if they were dispatched less than `kept` seconds ago."""
    wanted = {"leaders": [leader for leader, _ in attempts], "numbers": [number for _, number in attempts]}
    return [
        ToldBranch((row.transaction_id, row.attempt), Gid.parse(row.task_id), float(row.age))
        for row in session.execute(_TOLD, {**wanted, "kept": kept})
    ]


def recorded_values(session: Session, transactions: Collection[UUID]) -> dict[str, Values]:
    """Transaction id, as text → what begin and its branches have returned."""
    return {
        str(row.id): {**row._mapping["values"], **(row.branch_values or {})}
        for row in session.execute(_VALUES, {"ids": list(transactions)})
    }


def uncommitted(session: Session, keys: Sequence[tuple[Gid, Sequence[str]]]) -> dict[Gid, dict[str, str]]:
    """Of these branches, which participants have done for these members (ids as text), those that are not here as
    committed in that very attempt: gid → member → what is here instead. Who is not settled is under way, and not
    missing."""
    members = {member for _, of_one in keys for member in of_one}
    known = {str(row.id): row for row in session.execute(_STATES, {"ids": list(members)})}
    told = {branch.gid for branch in told_branches(session, {_attempt_of(gid) for gid, _ in keys}, _FOR_EVER)}
    missing = {}
    for gid, of_one in keys:
        if found := {member: words for member in of_one if (words := _instead(known.get(member), gid, gid in told))}:
            missing[gid] = found
    return missing


#: Seconds; older than anything.
_FOR_EVER = 1e9


def _instead(row: Any, gid: Gid, told: bool) -> str | None:
    """What stands here in the place of a transaction that was committed in the gid's attempt, if not that."""
    if row is None:
        return "nothing"
    if row.under_way:
        return None
    if row.state != "committed":
        return str(row.state)
    return None if told and (row.leading, row.number) == _attempt_of(gid) else "another attempt"


def _attempt_of(gid: Gid) -> Attempt:
    return gid.transaction, gid.attempt


def _accepted(row: Any) -> Accepted:
    return Accepted(
        row.id, (row.leading, row.number), row.created_at, row.decided_at, row.over, row.over_at, float(row.age or 0)
    )
