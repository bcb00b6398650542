"""What travels where two services compare what they have: keys one way, what is not there the other way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict, cast

from atomic_commit.errors import Conflict
from atomic_commit.names import Gid
from atomic_commit.wire.other_releases import read_gid, read_members

#: A branch of an attempt, and those of the transactions in it (ids as text) whose part is asked about.
Key = tuple[Gid, tuple[str, ...]]


class Absent(TypedDict):
    """Of a branch's ``members`` (transaction ids) nothing is there. ``found``: what is there instead, in a word or two;
    ``safe_to_redo``: as the branch is declared."""

    members: list[str]
    found: str
    safe_to_redo: bool


class Lacks(TypedDict):
    """What a service has not: ``absent``, gid → what is not there; ``harmless``: the gids of branches that are not
    there and of which nothing is missing; the id of the database in which that is so."""

    absent: dict[str, Absent]
    harmless: list[str]
    database: str


class Unheld(TypedDict):
    """What came of holds that were taken again: gid → those for whom it would be refused now (transaction id → why), if
    any; those ``left``, because somebody was in the way; and the id of the database in which that is so."""

    refused: dict[str, dict[str, str]]
    left: list[str]
    database: str


class Redone(TypedDict):
    """The transactions (ids as text) for which a branch was run again, and the id of the database."""

    members: list[str]
    database: str


def write_keys(keys: Sequence[Key]) -> list[list[Any]]:
    return [[str(gid), list(members)] for gid, members in keys]


def read_keys(value: object) -> list[Key]:
    """The keys in a message. Raises Conflict where another release has written them."""
    if not isinstance(value, list):
        raise Conflict("what is asked about was written by another release, which is being replaced")
    return [(read_gid(gid), tuple(map(str, members))) for gid, members in value]


def read_lacks(value: object) -> Lacks:
    """What a service has answered. Raises Conflict where another release has."""
    lacks = read_members(value, frozenset(Lacks.__annotations__))
    absent: Mapping[str, object] = lacks["absent"]
    for one in absent.values():
        read_members(one, frozenset(Absent.__annotations__))
    return cast(Lacks, lacks)


def read_unheld(value: object) -> Unheld:
    """What a service has answered. Raises Conflict where another release has."""
    return cast(Unheld, read_members(value, frozenset(Unheld.__annotations__)))


def read_redone(value: object) -> Redone:
    """What a service has answered. Raises Conflict where another release has."""
    return cast(Redone, read_members(value, frozenset(Redone.__annotations__)))
