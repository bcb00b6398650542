"""What one link of an attempt's chain hands to the next, and what a participant answers to an outcome."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, NotRequired, TypedDict, cast

from atomic_commit.declare import Values
from atomic_commit.errors import Conflict
from atomic_commit.wire.other_releases import read, read_members


class HandedOn(TypedDict):
    """What one link of the chain hands to the next, and what its AsyncResult keeps as the proof of its yes.

    ``prepared``: the gids prepared so far, in order, each with the id of its database; ``members``: for each
    transaction of the attempt (its id as text) what begin and the branches so far returned; ``dropped``: those that
    said no while the others went on, each with its ballot's members; ``changed``: whether any branch so far was more
    than a hold, so that nobody can be left out of what it has prepared.
    """

    prepared: dict[str, str]
    members: dict[str, Values]
    dropped: dict[str, dict[str, Any]]
    changed: NotRequired[bool]


def read_handed_on(value: object) -> HandedOn:
    """What the link before has handed on. Raises Conflict where another release has."""
    if isinstance(value, dict):
        value = {"changed": bool(value.get("prepared")), **value}  # who does not say so did not know of holds
    found = read_members(value, frozenset(HandedOn.__annotations__))
    for name, member in found.items():
        if not isinstance(member, bool if name == "changed" else dict):
            raise Conflict("what was handed on was written by another release, which is being replaced")
    return cast(HandedOn, found)


class Answer(StrEnum):
    """What a participant answers to an outcome."""

    COMMITTED = "committed"
    ROLLED_BACK = "rolled back"
    #: told to commit a branch that is not there, or to roll back one that is committed: the protocol excludes both
    IMPOSSIBLE = "impossible"
    #: the commit was sent in another epoch, and is void (``participant.epochs``)
    VOID = "void"


class Answered(TypedDict):
    """What a participant's outcome task hands to the coordinator's ``acknowledge``: its answer, the id of the database
    in which it holds, and of what is void the ``epoch`` in which it would not be."""

    answer: str
    database: str
    epoch: NotRequired[str | None]


def read_answered(value: object) -> Answered:
    """What a participant has answered. Raises Conflict where another release has."""
    if isinstance(value, dict):
        value = {"epoch": None, **value}
    answered = read_members(value, frozenset(Answered.__annotations__))
    read(lambda: Answer(answered["answer"]))
    return cast(Answered, answered)


class Found(TypedDict):
    """One branch, as a participant's database has it. ``transaction``, ``attempt``: the attempt's name, which is its
    leader's; ``state``: "prepared", "done" or "tombstone"; ``members``: of what is done, transaction id → what the
    branch was given for it and has returned (None: done by release 0.1, which did not write it down)."""

    transaction: str
    attempt: int
    branch: str
    state: str
    members: dict[str, Values] | None


class Testified(TypedDict):
    """What a participant hands to the coordinator that has asked about a transaction: what it has ``found``, which of
    its branches are ``holds`` (of them nothing can be lost), the id of the database in which that is so, and the
    ``epoch`` in which a commit counts there from now on."""

    found: list[Found]
    holds: list[str]
    database: str
    epoch: str | None


def read_testified(value: object) -> Testified:
    """What a participant has testified. Raises Conflict where another release has."""
    testified = read_members(value, frozenset(Testified.__annotations__))
    for one in testified["found"]:
        read_members(one, frozenset(Found.__annotations__))
    return cast(Testified, testified)
