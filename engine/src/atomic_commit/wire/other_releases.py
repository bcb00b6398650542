"""Messages of another release. While one release is replaced by the next, each is handed what the other has sent.

What does not fit is nobody's failure: it is a Conflict, and the transaction is tried again, with the messages of
whoever is at work by then.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar
from uuid import UUID

from atomic_commit.errors import Conflict
from atomic_commit.names import Gid

_T = TypeVar("_T")

_WORDS = "the message was sent by another release, which is being replaced"


def reading_any_release(function: Callable[..., _T]) -> Callable[..., _T]:
    """`function` as the body of a task: arguments that are not its own are a Conflict, not a TypeError."""
    signature = inspect.signature(function)

    def run(*args: Any, **kwargs: Any) -> _T:
        try:
            signature.bind(*args, **kwargs)
        except TypeError as error:
            raise Conflict(f"{_WORDS}: {error}") from error
        return function(*args, **kwargs)

    run.__doc__ = function.__doc__
    return run


def read_gid(text: object) -> Gid:
    """The gid in a message."""
    return read(lambda: Gid.parse(str(text)))


def read_id(text: object) -> UUID:
    """The transaction in a message."""
    return read(lambda: UUID(str(text)))


def read_moment(text: object) -> datetime:
    """A time in a message, in the form of ISO 8601. (A person may have typed it, without a zone: this machine's.)"""
    return read(lambda: datetime.fromisoformat(str(text)).astimezone(UTC))


def read_number(value: object) -> int:
    """The number of an attempt in a message."""
    if not isinstance(value, int):
        raise Conflict(_WORDS)
    return value


def read_members(value: object, names: frozenset[str]) -> Mapping[str, Any]:
    """An object in a message, which has to have members of just these names."""
    if not isinstance(value, dict) or value.keys() != names:
        raise Conflict(_WORDS)
    return value


def read(how: Callable[[], _T]) -> _T:
    """What `how` makes of something in a message. A ValueError is another release's spelling."""
    try:
        return how()
    except ValueError as error:
        raise Conflict(f"{_WORDS}: {error}") from error
