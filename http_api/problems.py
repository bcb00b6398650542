"""Every error is one shape: `application/problem+json` (RFC 9457).

A problem has a *type* out of `problem_types`. What has no type of its own (418, say) is `about:blank`, whose title
is the status phrase (RFC 9457, section 4.2.1). `problem_handlers` makes problems of exceptions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import flask

from http_api.problem_types import PROBLEM_TYPES

MEDIA_TYPE = "application/problem+json"
MOST_ERRORS = 100  # a body of a million unknown fields is answered with the first hundred
LONGEST_NAME = 200  # and a field name of a megabyte is not sent back whole


class ProblemError(Exception):
    """Ends the request with a problem of a registered type: raise it anywhere below a view."""

    def __init__(
        self,
        problem_type: str,
        detail: str,
        *,
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
        **extensions: Any,
    ) -> None:
        super().__init__(detail)
        self.type = PROBLEM_TYPES[problem_type]
        self.detail = detail
        self.status = status or self.type.status
        self.headers = dict(headers or {})
        self.extensions = extensions
        if self.type.retry_after is not None:
            self.headers.setdefault("Retry-After", str(self.type.retry_after))


def problem_response(problem: ProblemError) -> flask.Response:
    """The answer that a `ProblemError` becomes; for a view that wants to return rather than raise it."""
    return response(
        problem.type.uri,
        problem.type.title,
        problem.status,
        problem.detail,
        headers=problem.headers,
        extensions=problem.extensions,
    )


def response(
    uri: str,
    title: str,
    status: int,
    detail: str,
    *,
    headers: Mapping[str, str],
    extensions: Mapping[str, Any] | None = None,
) -> flask.Response:
    """Put the members together; an extension can never overwrite a standard one (RFC 9457, section 3.2)."""
    members: dict[str, Any] = {"type": uri, "title": title, "status": status, "detail": detail}
    if flask.has_request_context():
        members["instance"] = quote(flask.request.path, safe="/:@!$&'()*+,;=~")
    for name, value in (extensions or {}).items():
        members.setdefault(name, value)
    response = flask.current_app.response_class(
        flask.current_app.json.dumps(members, separators=(",", ":")) + "\n", status, mimetype=MEDIA_TYPE
    )
    response.headers.update(headers)
    return response


def validation_problem(errors: Sequence[Mapping[str, str]]) -> ProblemError:
    """A 422 from entries made by `error_at`."""
    return ProblemError("validation", _summary(errors), errors=list(errors[:MOST_ERRORS]))


def header_problem(header: str, detail: str) -> ProblemError:
    """A 400 that names the header which breaks its own grammar."""
    return ProblemError("invalid-header", f"{header}: {detail}", errors=[error_at("header", header, detail)])


def error_at(location: str, field: str | Sequence[object], detail: str) -> dict[str, str]:
    """One entry of `errors`: where it is (`in` and `field`, in a body also a JSON Pointer) and what is wrong.

    The pointer is the URI fragment form of RFC 6901, section 6: `#/lines/0/quantity`; `#` is the whole body.
    """
    steps = [field] if isinstance(field, str) else [str(step) for step in field]
    entry = {"in": location, "field": _shortened(".".join(steps))}
    if location == "body":
        entry["pointer"] = _shortened("#" + "".join("/" + _pointer_step(step) for step in steps))
    return {**entry, "detail": detail}


def errors_of(messages: Mapping[str, Any]) -> list[dict[str, str]]:
    """Entries from webargs' messages, such as `{"json": {"lines": {0: {"quantity": ["…"]}}}}`."""
    return [
        error_at(_LOCATIONS.get(location, location), path, detail)
        for location, nested in messages.items()
        for path, detail in _leaves(nested, ())
    ]


# --- the entries of `errors` ------------------------------------------------------------------------------

_LOCATIONS = {
    "json": "body",
    "form": "body",
    "querystring": "query",
    "view_args": "path",
    "headers": "header",
}


def _leaves(messages: object, path: tuple[object, ...]) -> Iterator[tuple[tuple[object, ...], str]]:
    """Each message with its path; marshmallow's `_schema` is the thing itself, not a field in it."""
    if isinstance(messages, Mapping):
        for key, nested in messages.items():
            yield from _leaves(nested, path if key == "_schema" else (*path, key))
    elif isinstance(messages, list | tuple):
        for nested in messages:
            yield from _leaves(nested, path)
    else:
        yield path, str(messages)


def _summary(errors: Sequence[Mapping[str, str]]) -> str:
    first = errors[0]
    text = f"{first['field'] or first['in']}: {first['detail']}"
    return text if len(errors) == 1 else f"{text} (and {len(errors) - 1} more)"


def _pointer_step(step: str) -> str:
    """RFC 6901: `~` and `/` escaped first, then what a URI fragment cannot hold (a lone surrogate as `?`)."""
    return quote(step.replace("~", "~0").replace("/", "~1"), safe="~!$&'()*+,;=:@", errors="replace")


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST_NAME else text[:LONGEST_NAME] + "…"
