"""What a participant can prove to have done: its branch rows, read for a comparison with the coordinators' journals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Engine, text

from atomic_commit.declare import BranchDeclaration, Values
from atomic_commit.names import Gid, Installation
from atomic_commit.postgres.database import autocommit
from atomic_commit.wire.comparing import Absent, Key

#: The place of a row in the order of age.
Place = tuple[datetime, UUID, int, str]

_KEYS = (
    "unnest(CAST(:leaders AS uuid[]), CAST(:attempts AS integer[]), CAST(:branches AS text[]))"
    " AS key (transaction_id, attempt, branch)"
)
_ROWS = text(
    "SELECT transaction_id, attempt, branch, kind,"
    " CASE WHEN members IS NOT NULL THEN ARRAY(SELECT jsonb_object_keys(members)) END AS members"
    f" FROM branch_rows JOIN {_KEYS} USING (transaction_id, attempt, branch)"
)
_MEMBERS = text(
    f"SELECT transaction_id, attempt, branch, members FROM branch_rows JOIN {_KEYS}"
    " USING (transaction_id, attempt, branch)"
)
_PREPARED = text(
    "SELECT gid FROM pg_prepared_xacts WHERE database = current_database() AND gid = ANY (CAST(:gids AS text[]))"
)
#: By age, which has an index, and by no more than so many rows at a time, whatever they are.
_PAGE = text(
    "SELECT transaction_id, attempt, branch, kind, coordinated_by, created_at,"
    " extract(epoch FROM clock_timestamp() - created_at) AS age,"
    " CASE WHEN members IS NOT NULL THEN ARRAY(SELECT jsonb_object_keys(members)) END AS members"
    " FROM branch_rows WHERE created_at >= :at AND created_at <= :until"
    " AND (created_at, transaction_id, attempt, branch) > (:at, :leader, :attempt, :branch)"
    " ORDER BY created_at, transaction_id, attempt, branch LIMIT :size"
)


@dataclass(frozen=True)
class BranchRow:
    """One row. ``gid``: None where release 0.1 has written it, and it is not known who coordinates; ``age``: seconds
    since it was begun; ``members``: ids, as text."""

    place: Place
    gid: Gid | None
    done: bool
    members: tuple[str, ...]
    age: float


class Proofs:
    """The branch rows of one service (`engine`, of this installation), which offers these branches."""

    def __init__(self, engine: Engine, installation: Installation, branches: Mapping[str, BranchDeclaration]) -> None:
        self._reads, self._installation, self._branches = autocommit(engine), installation, branches

    def lacking(self, keys: Sequence[Key]) -> tuple[dict[str, Absent], list[str]]:
        """Of these branches those that are not done here, or not for these members: gid → what is not there; and the
        gids of those of which nothing is missing, because they only hold.

        What stands prepared is not missing: it asks its coordinator by itself. It is looked for first, because it may
        be done a moment later, and what is done stays done.
        """
        with self._reads.connect() as connection:
            prepared = set(connection.scalars(_PREPARED, {"gids": [str(gid) for gid, _ in keys]}))
            rows = {tuple(row[:3]): row for row in connection.execute(_ROWS, _named(gid for gid, _ in keys))}
        absent: dict[str, Absent] = {}
        harmless = []
        for gid, members in keys:
            row = rows.get((gid.transaction, gid.attempt, gid.branch))
            missing = _missing(members, row)
            if not missing or str(gid) in prepared:
                continue
            branch = self._branches.get(gid.branch)
            if branch and branch.holds:
                harmless.append(str(gid))
                continue
            found = "nothing" if row is None else "others" if row.kind == "done" else "a tombstone"
            absent[str(gid)] = Absent(
                members=missing,
                found=found,
                safe_to_redo=bool(branch and branch.safe_to_redo and found != "a tombstone"),
            )
        return absent, harmless

    def page(self, after: Place, until: datetime, size: int) -> list[BranchRow]:
        """The next rows in the order of age, at most `size`: of any kind, so that each page is read quickly."""
        at, leader, attempt, branch = after
        given = {"at": at, "leader": leader, "attempt": attempt, "branch": branch, "until": until, "size": size}
        with self._reads.connect() as connection:
            return [self._branch_row(row) for row in connection.execute(_PAGE, given)]

    def values(self, gids: Sequence[Gid]) -> dict[Gid, dict[str, Values]]:
        """What the rows have kept: transaction id → what the branch was given for it and has returned."""
        by_key = {(gid.transaction, gid.attempt, gid.branch): gid for gid in gids}
        with self._reads.connect() as connection:
            return {by_key[row[0], row[1], row[2]]: row[3] or {} for row in connection.execute(_MEMBERS, _named(gids))}

    def holds(self, branch: str) -> bool:
        """Whether the branch is declared, here, as one that changes nothing."""
        declared = self._branches.get(branch)
        return bool(declared and declared.holds)

    def _branch_row(self, row: Any) -> BranchRow:
        known = row.coordinated_by is not None and row.members is not None
        key = row.transaction_id, row.attempt, row.branch
        gid = Gid(self._installation, row.coordinated_by, *key) if known else None
        return BranchRow((row.created_at, *key), gid, row.kind == "done", tuple(row.members or ()), float(row.age))


def _missing(members: Sequence[str], row: Any) -> list[str]:
    """Those of whom the row is no proof. (One of release 0.1 does not tell whose it is, and neither does the one that
    stands in for a forgotten hold: they are taken for everybody's.)"""
    if row is None or row.kind != "done":
        return list(members)
    return [] if row.members is None else [member for member in members if member not in row.members]


def _named(gids: Iterable[Gid]) -> dict[str, list[Any]]:
    wanted = list(gids)
    return {
        "leaders": [gid.transaction for gid in wanted],
        "attempts": [gid.attempt for gid in wanted],
        "branches": [gid.branch for gid in wanted],
    }
