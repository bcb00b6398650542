"""JSON to the letter, as PostgreSQL can keep it.

Python's `json` reads `NaN` and takes the last of two equal members. What `parse_json` returns was understood exactly.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from http_api.problems import ProblemError

DEEPEST = 32
NOT_STORABLE = "Must not contain NUL characters or half surrogate pairs."


def parse_json(raw: bytes) -> Any:
    """RFC 8259 as I-JSON (RFC 7493) narrows it: UTF-8, unique names, finite numbers; and not too deep."""
    try:
        value = json.loads(
            raw.decode("utf-8"),
            parse_constant=_no_constant,
            parse_float=_finite,
            parse_int=_bounded,
            object_pairs_hook=_unique,
        )
    except RecursionError:
        raise malformed(f"It is nested deeper than {DEEPEST} levels.") from None
    except json.JSONDecodeError as error:
        raise malformed(f"{error.msg} at line {error.lineno}, column {error.colno}.") from None
    except UnicodeDecodeError:
        raise malformed("It is not UTF-8.") from None
    except ValueError as error:
        raise malformed(str(error)) from None
    if _deeper_than(value, DEEPEST):
        raise malformed(f"It is nested deeper than {DEEPEST} levels.")
    return value


def malformed(detail: str) -> ProblemError:
    return ProblemError("malformed-json", f"The body is not JSON: {detail}")


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number in JSON.")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError("It has a number beyond what a double holds.")
    return number


def _bounded(digits: str) -> int:
    """Forty digits are enough to be out of every range, and Python refuses to read thousands of them."""
    return int(digits[:40])


def _unique(members: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(members)
    if len(value) < len(members):
        raise ValueError("An object has the same member name twice.")
    return value


def _deeper_than(value: Any, limit: int) -> bool:
    """Level by level, because a recursive look at what is too deep would fail for the same reason."""
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(limit):
        children = (child for node in level for child in (node.values() if isinstance(node, dict) else node))
        level = [child for child in children if isinstance(child, dict | list)]
        if not level:
            return False
    return True


def storable(text: str) -> bool:
    return "\x00" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


def unstorable(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every text, name or value, that no text column can hold; `value` is known to be shallow."""
    if isinstance(value, str):
        if not storable(value):
            yield path
    elif isinstance(value, Mapping):
        for name, member in value.items():
            if not storable(name):
                yield path
            yield from unstorable(member, (*path, name))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from unstorable(item, (*path, index))
