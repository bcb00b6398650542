"""Every error is one shape: `application/problem+json` (RFC 9457).

A problem has a *type* out of `PROBLEM_TYPES`, named by the stable relative reference `/problems/<name>`,
which is also a page of this very API that explains the type. What has no type of its own (418, say) is
`about:blank`, whose title is the status phrase (RFC 9457, section 4.2.1).

| what happened                                          | type                    | status |
|--------------------------------------------------------|-------------------------|--------|
| well-formed JSON or a query with wrong values           | validation              | 422    |
| a body that is not JSON (RFC 8259), or nested too deep  | malformed-json          | 400    |
| a header that breaks its own grammar                    | invalid-header          | 400    |
| no such thing, no such path                             | not-found               | 404    |
| a method that the path does not have (with `Allow`)     | method-not-allowed      | 405    |
| a rule of the business says no                          | refused                 | 409    |
| a body over the limit                                   | body-too-large          | 413    |
| a body that is not declared as JSON                     | unsupported-media-type  | 415    |
| an Idempotency-Key used again for another request       | idempotency-key-reused  | 422    |
| a defect of ours                                        | internal-error          | 500    |
| a row lock or a serialization conflict                  | conflict-busy           | 503    |
| too few threads are free in this process                | busy                    | 503    |
| given up after its retries                              | aborted                 | 503    |
| somebody has paused the application                     | paused                  | 503    |
| the database (or something else it needs) is away       | unavailable             | 503    |
| the database went away while it accepted or committed   | outcome-unknown         | 504    |
"""

from __future__ import annotations

import http
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import flask
import sqlalchemy.exc
from werkzeug.exceptions import HTTPException

from atomic_commit.errors import is_lost

MEDIA_TYPE = "application/problem+json"
MOST_ERRORS = 100  # a body of a million unknown fields is answered with the first hundred
LONGEST_NAME = 200  # and a field name of a megabyte is not sent back whole


@dataclass(frozen=True)
class ProblemType:
    """One kind of problem: its name is part of the API and never changes; its words may."""

    name: str
    #: the HTTP status that it is answered with
    status: int
    #: the same for every problem of the type
    title: str
    #: for people who follow the type: what it means, and what to do
    explanation: str
    #: seconds for `Retry-After` (RFC 9110, 10.2.3) unless whoever raises it knows better; None: no such header
    retry_after: int | None = None

    @property
    def uri(self) -> str:
        return f"/problems/{self.name}"


PROBLEM_TYPES: Mapping[str, ProblemType] = {
    kind.name: kind
    for kind in (
        ProblemType(
            "validation",
            422,
            "The request has wrong values",
            "The request could be read, but it has fields that are missing, unknown, of the wrong type or"
            " out of range. The member `errors` says where each is and what is wrong with it.",
        ),
        ProblemType(
            "malformed-json",
            400,
            "The body is not JSON",
            "The body could not be read as JSON (RFC 8259) in UTF-8. Numbers must be finite, member names"
            " unique, and the nesting shallow.",
        ),
        ProblemType(
            "unsupported-media-type",
            415,
            "The body is not declared as JSON",
            "Send the body as JSON, not compressed, with the header `Content-Type: application/json`.",
        ),
        ProblemType(
            "body-too-large",
            413,
            "The body is too large",
            "The body is larger than this API reads. Send less.",
        ),
        ProblemType(
            "invalid-header",
            400,
            "A request header cannot be read",
            "A header of the request breaks its own grammar; `errors` names it. Nothing was done.",
        ),
        ProblemType(
            "not-found",
            404,
            "There is no such thing",
            "Nothing is at this path: it never was, it is gone, or the path is misspelt.",
        ),
        ProblemType(
            "method-not-allowed",
            405,
            "The method is not allowed here",
            "The path exists but not for this method. The header `Allow` lists the methods that it has.",
        ),
        ProblemType(
            "refused",
            409,
            "A rule of the business says no",
            "The request was understood, and the present state of things does not allow it. Nothing was"
            " changed, anywhere. Repeating it unchanged helps only once that state has changed.",
        ),
        ProblemType(
            "conflict-busy",
            503,
            "Something else is at work on the same rows",
            "The rows are locked or were changed meanwhile. Nothing was changed by this request. Repeat it"
            " after `Retry-After`.",
            retry_after=1,
        ),
        ProblemType(
            "busy",
            503,
            "Too many requests at once",
            "This process serves as many requests as it can. Nothing was done by this one. Repeat it after"
            " `Retry-After`.",
            retry_after=1,
        ),
        ProblemType(
            "aborted",
            503,
            "Given up after its retries",
            "The transaction was tried, tried again, and given up for a cause other than a rule of the"
            " business. Nothing was changed, anywhere. A new request after `Retry-After` may well succeed.",
            retry_after=5,
        ),
        ProblemType(
            "paused",
            503,
            "The application is paused",
            "Somebody has paused it, for example for a backup; the detail says why, if they have. Nothing was accepted."
            " What was accepted before goes on, and so does what one service does by itself. Repeat the request after"
            " `Retry-After`.",
            retry_after=30,
        ),
        ProblemType(
            "idempotency-key-reused",
            422,
            "The Idempotency-Key belongs to another request",
            "This caller has used the key on this route with another body (IETF draft"
            " idempotency-key-header-07, section 2.6). Nothing was done. Use a new key for a new request.",
        ),
        ProblemType(
            "internal-error",
            500,
            "A defect of the service",
            "The service failed in a way it should not have, and has logged it. Where a `transaction` is named, nothing"
            " was changed, anywhere, and no repetition will help before its operator has mended what is wrong; they"
            " find the cause by its id.",
        ),
        ProblemType(
            "unavailable",
            503,
            "The service cannot answer now",
            "Something the service needs, mostly its database, does not answer. Repeat after `Retry-After`;"
            " with an Idempotency-Key if it changes something, since perhaps only the answer was lost.",
            retry_after=5,
        ),
        ProblemType(
            "outcome-unknown",
            504,
            "Nobody knows yet whether it was accepted",
            "The database went away while it accepted the request, or committed a change that needs no transaction of"
            " several services. If a transaction was accepted, its URL"
            " (`Location`) answers with it as soon as that is known, at the latest when the database and those"
            " standbys that it waits for are back. A 404 there means: not known to be accepted, as yet; it is no"
            " proof that it never will be. With an Idempotency-Key it is safe to repeat the request at once. Without a"
            " URL and without a key, look what has become of the change.",
            retry_after=5,
        ),
    )
}

_TYPE_OF_STATUS = {
    404: "not-found",
    405: "method-not-allowed",
    413: "body-too-large",
    415: "unsupported-media-type",
    422: "validation",
    500: "internal-error",
    503: "unavailable",
}


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
    return _response(
        problem.type.uri,
        problem.type.title,
        problem.status,
        problem.detail,
        headers=problem.headers,
        extensions=problem.extensions,
    )


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


def register_error_handlers(app: flask.Flask) -> None:
    """Make every error of the app a problem.

    An unforeseen exception takes Flask's own way: Flask logs it once with its traceback and then asks for an
    `InternalServerError`, which `_from_http` turns into a 500 that tells nothing of it. (In tests with
    `TESTING` it is raised to the test instead, unless `PROPAGATE_EXCEPTIONS` is false.)
    """
    app.register_error_handler(ProblemError, problem_response)
    app.register_error_handler(HTTPException, _from_http)
    app.register_error_handler(sqlalchemy.exc.DBAPIError, _from_database)
    app.register_error_handler(sqlalchemy.exc.TimeoutError, _from_pool)


def register_problem_pages(app: flask.Flask) -> None:
    """`GET /problems` and `GET /problems/<name>`: what each type means, for whoever follows a `type`."""
    pages = flask.Blueprint("problems", __name__, url_prefix="/problems")

    @pages.get("")
    def every_type() -> flask.Response:
        return flask.jsonify([_page(kind) for kind in PROBLEM_TYPES.values()])

    @pages.get("/<name>")
    def one_type(name: str) -> flask.Response:
        if name not in PROBLEM_TYPES:
            raise ProblemError("not-found", "There is no such problem type; /problems lists them all.")
        return flask.jsonify(_page(PROBLEM_TYPES[name]))

    app.register_blueprint(pages)


# --- from an exception to a problem -----------------------------------------------------------------------

_BUSY = {
    "40001",  # serialization_failure
    "40P01",  # deadlock_detected
    "55P03",  # lock_not_available
    "57014",  # query_canceled: statement_timeout
}


def _from_database(error: sqlalchemy.exc.DBAPIError) -> flask.Response:
    """Busy and away are not defects: 503, one line in the log. Every other database error is one: raised on.

    Judged by SQLSTATE first (PostgreSQL, appendix A) and by the class only where there is none: a connection
    that cannot be made or was lost has no SQLSTATE to show. One that only reads is away for whoever writes.
    """
    sqlstate = getattr(error.orig, "pgcode", None) or getattr(error.orig, "sqlstate", None)
    if sqlstate in _BUSY:
        _log_line("database busy", error.orig)
        return problem_response(ProblemError("conflict-busy", "Something else is at work on the same rows."))
    away = isinstance(error, sqlalchemy.exc.OperationalError | sqlalchemy.exc.InterfaceError)
    if away or error.connection_invalidated or is_lost(error):
        return _unavailable(error.orig)
    raise error


def _from_pool(error: sqlalchemy.exc.TimeoutError) -> flask.Response:
    """Every connection of the pool is in use: as good as no database for this request."""
    return _unavailable(error)


def _unavailable(cause: BaseException | None) -> flask.Response:
    _log_line("database unavailable", cause)
    return problem_response(ProblemError("unavailable", "The database takes no requests now."))


def _log_line(what: str, cause: BaseException | None) -> None:
    first_line = str(cause).strip().partition("\n")[0]
    where = f"{flask.request.method} {quote(flask.request.path)}"
    flask.current_app.logger.warning("%s during %s: %s: %s", what, where, type(cause).__name__, first_line)


def _from_http(error: HTTPException) -> flask.Response | HTTPException:
    """What Flask, Werkzeug and flask-smorest raise; what is no error (304, a ready answer) passes."""
    if error.response is not None or error.code is None or error.code < 400:
        return error
    data: Mapping[str, Any] = getattr(error, "data", None) or {}
    headers = {name: value for name, value in error.get_headers() if name.lower() != "content-type"}
    headers.update(data.get("headers") or {})
    if data.get("messages"):  # a webargs parser other than ours
        malformed = error.code == 400
        problem = (
            ProblemError("malformed-json", "The body is not JSON.")
            if malformed
            else validation_problem(errors_of(data["messages"]))
        )
        return problem_response(problem)

    kind = PROBLEM_TYPES.get(_TYPE_OF_STATUS.get(error.code, ""))
    words = data.get("message") or _own_words(error)
    if kind is None:
        words = words or error.description or ""
        return _response("about:blank", _phrase(error.code), error.code, words, headers=headers)
    return problem_response(ProblemError(kind.name, words or kind.explanation, headers=headers))


def _own_words(error: HTTPException) -> str | None:
    """The words that whoever raised it chose; Werkzeug's stock phrases speak to a person at a browser."""
    if error.code == 405:
        return f"{flask.request.method} is not allowed here."
    stock = getattr(type(error), "description", None)
    return error.description if error.code != 500 and error.description != stock else None


def _phrase(status: int) -> str:
    try:
        return http.HTTPStatus(status).phrase
    except ValueError:
        return "Error"


def _response(
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


def _page(kind: ProblemType) -> dict[str, object]:
    return {"type": kind.uri, "title": kind.title, "status": kind.status, "explanation": kind.explanation}


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
