"""From an exception to a problem: what the app answers to all that a view lets through; and the pages of the types."""

from __future__ import annotations

import http
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import flask
import sqlalchemy.exc
from werkzeug.exceptions import HTTPException

from atomic_commit.errors import is_lost
from http_api.problem_types import PROBLEM_TYPES, ProblemType
from http_api.problems import ProblemError, errors_of, problem_response, response, validation_problem


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


def _page(kind: ProblemType) -> dict[str, object]:
    return {"type": kind.uri, "title": kind.title, "status": kind.status, "explanation": kind.explanation}


_TYPE_OF_STATUS = {
    404: "not-found",
    405: "method-not-allowed",
    413: "body-too-large",
    415: "unsupported-media-type",
    422: "validation",
    500: "internal-error",
    503: "unavailable",
}


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
        return response("about:blank", _phrase(error.code), error.code, words, headers=headers)
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
