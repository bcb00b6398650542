"""`Prefer` (RFC 7240): how long the client wants to wait for the decision, or not at all.

| the request says             | waits up to | respond_async | Preference-Applied      |
|------------------------------|-------------|---------------|-------------------------|
| nothing                      | 5 s         | no            | (none)                  |
| `wait=N`                     | N s, ≤ 30   | no            | `wait=N`                |
| `respond-async`              | 0 s         | yes           | `respond-async`         |
| `respond-async, wait=N`      | N s, ≤ 30   | yes           | `respond-async, wait=N` |

The last row is RFC 7240, section 4.3: asynchronously *if* it takes longer than N seconds.

A preference that is not ours is ignored, as section 2 demands; one of ours that cannot be read, or a header
that breaks the grammar, is a 400: a client that asked to wait a minute should learn that it will not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import flask

from http_api.problems import header_problem

HEADER = "Prefer"
DEFAULT_WAIT = 5.0
LONGEST_WAIT = 30.0
"""No request holds a server thread longer than this; the server's graceful stop builds on it."""


@dataclass(frozen=True)
class Preference:
    """What to do for this request."""

    #: seconds to wait for the decision before answering with what is known
    wait: float = DEFAULT_WAIT
    #: whether the client asked for an answer before the decision
    respond_async: bool = False
    #: the value for `Preference-Applied` (section 3); None: nothing was asked for
    applied: str | None = None

    @property
    def headers(self) -> dict[str, str]:
        return {} if self.applied is None else {"Preference-Applied": self.applied}


def from_request(request: flask.Request) -> Preference:
    return parse(request.headers.getlist(HEADER))


def parse(values: Iterable[str]) -> Preference:
    """From the values of all `Prefer` headers, in order; raises `ProblemError` invalid-header (400)."""
    preferences: dict[str, str] = {}
    for name, value in _preferences(", ".join(values)):
        preferences.setdefault(name, value)  # "only the first instance is to be considered" (section 2)

    respond_async = "respond-async" in preferences
    applied = ["respond-async"] if respond_async else []
    wait = 0.0 if respond_async else DEFAULT_WAIT
    if "wait" in preferences:
        wait = _seconds(preferences["wait"])
        applied.append(f"wait={wait:.0f}")
    return Preference(wait, respond_async, ", ".join(applied) or None)


def _seconds(value: str) -> float:
    """`delta-seconds`, one or more digits (section 4.3), capped."""
    if not re.fullmatch("[0-9]+", value):
        raise header_problem(HEADER, "wait must be a whole number of seconds, as in wait=10.")
    return LONGEST_WAIT if len(value) > 9 else min(float(value), LONGEST_WAIT)


# preference = token [ BWS "=" BWS word ] *( OWS ";" [ OWS parameter ] ), word = token / quoted-string.
# Every repetition of blanks is possessive (*+), so no input makes the expression try twice.
_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]++"
_WORD = rf'(?:{_TOKEN}|"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*+")'
_PARAMETER = rf"{_TOKEN}(?:[ \t]*+=[ \t]*+{_WORD}?)?"
_PREFERENCE = re.compile(
    rf"(?P<name>{_TOKEN})(?:[ \t]*+=[ \t]*+(?P<value>{_WORD})?)?(?:[ \t]*+;[ \t]*+(?:{_PARAMETER})?)*+[ \t]*+"
)
_BETWEEN = re.compile(r"[ \t,]*+")  # RFC 9110, 5.6.1: a list may have empty elements


def _preferences(header: str) -> Iterator[tuple[str, str]]:
    """Each preference as (lower-case name, unquoted value); no value is as good as an empty one."""
    position = _skip(header, 0)
    while position < len(header):
        found = _PREFERENCE.match(header, position)
        if found is None or header[found.end() : found.end() + 1] not in ("", ","):
            raise header_problem(HEADER, "This is not a list of preferences as RFC 7240 writes them.")
        yield found["name"].lower(), _unquoted(found["value"] or "")
        position = _skip(header, found.end())


def _skip(header: str, position: int) -> int:
    between = _BETWEEN.match(header, position)
    return position if between is None else between.end()


def _unquoted(word: str) -> str:
    return re.sub(r"\\(.)", r"\1", word[1:-1]) if word.startswith('"') else word
