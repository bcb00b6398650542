"""How a request is read: `Blueprint` is flask-smorest's with the strict parser.

`Api.register_blueprint` takes no other.

| in the request                                    | answer                    |
|---------------------------------------------------|---------------------------|
| no, another or a compressed Content-Type          | 415                       |
| over `MAX_CONTENT_LENGTH`, also when sent chunked  | 413                       |
| not JSON, not UTF-8, `NaN`, a name twice, too deep | 400                       |
| JSON, but not an object                           | 422, the body itself      |
| unknown, missing or wrong fields, also in a query  | 422, each with its place  |
| a NUL or half a surrogate pair in any text         | 422: PostgreSQL has neither |
"""

from __future__ import annotations

import http
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

import flask
import flask_smorest
import marshmallow as ma
from webargs.flaskparser import FlaskParser, is_json_request
from werkzeug.exceptions import RequestEntityTooLarge

from http_api.problems import ProblemError, errors_of, validation_problem
from http_api.strict_json import NOT_STORABLE, malformed, parse_json, storable, unstorable


class StrictParser(FlaskParser):
    """webargs' parser for Flask, with the table at the head of this module in place of its kindness."""

    # None: the schema's own setting, so that a misspelt filter is refused and not taken for no filter.
    DEFAULT_UNKNOWN_BY_LOCATION = {
        **FlaskParser.DEFAULT_UNKNOWN_BY_LOCATION,
        "query": None,
        "querystring": None,
    }

    def load_json(self, req: flask.Request, schema: ma.Schema) -> Any:
        if not is_json_request(req) or req.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise ProblemError(
                "unsupported-media-type",
                "Send the body with Content-Type: application/json and no Content-Encoding.",
                headers={"Accept": "application/json"},  # RFC 9110, 15.5.16
            )
        raw = _read(req)
        value = parse_json(raw)
        if b"\\u" in raw:  # the only way for such a character into valid JSON
            self._refuse(unstorable(value))
        return value

    def load_querystring(self, req: flask.Request, schema: ma.Schema) -> Any:
        proxy = super().load_querystring(req, schema)
        repeated = [
            name
            for name, values in req.args.lists()
            if len(values) > 1 and name in schema.fields and name not in proxy.multiple_keys
        ]
        if repeated:
            raise ma.ValidationError({name: ["Must be given once."] for name in repeated})
        self._refuse((name,) for name, values in req.args.lists() if not all(map(storable, [name, *values])))
        return proxy

    def handle_error(
        self,
        error: ma.ValidationError,
        req: flask.Request,
        schema: ma.Schema,
        *,
        error_status_code: int | None,
        error_headers: Mapping[str, str] | None,
    ) -> NoReturn:
        messages = error.messages
        if not isinstance(messages, dict):  # never: webargs has put them under their location
            messages = {"json": messages}
        raise validation_problem(errors_of(messages))

    @staticmethod
    def _refuse(paths: Iterator[tuple[Any, ...]]) -> None:
        messages: dict[Any, Any] = {}
        for path in paths:
            place = messages
            for step in path:
                place = place.setdefault(step, {})
            place["_schema"] = [NOT_STORABLE]
        if messages:
            raise ma.ValidationError(messages)


def _read(request: flask.Request) -> bytes:
    """The bytes of the body, all of them or none.

    Of a chunked body Werkzeug reads up to its limit and *silently* no further, and what a shortened body says
    may be valid: so one byte more than the limit is read, to see it crossed. Behind a server that ends the
    input itself (gunicorn) it does not notice either when the client leaves before `Content-Length`.
    """
    limit = request.max_content_length
    if limit is not None:
        request.max_content_length = limit + 1
    try:
        raw = request.get_data(cache=True)
    except RequestEntityTooLarge:  # of a Content-Length over the limit
        raise
    except Exception as error:  # whatever the server or Werkzeug raises for a broken chunk or a lost or slow client
        raise malformed("It could not be read to its end.") from error
    if limit is not None and len(raw) > limit:
        raise RequestEntityTooLarge()
    if request.content_length is not None and len(raw) < request.content_length:
        raise malformed("It ended before its Content-Length.")
    return raw


if TYPE_CHECKING:  # flask-smorest has no types; these are its blueprint's, as far as they are used here
    _View = Callable[..., Any]

    class _Blueprint(flask.Blueprint):
        def __init__(self, *args: Any, description: str = "", **options: Any) -> None: ...
        def arguments(self, schema: Any, **options: Any) -> Callable[[_View], _View]: ...
        def response(self, status: int, schema: Any = None, **options: Any) -> Callable[[_View], _View]: ...

        _prepare_doc_cbks: list[Callable[..., dict[str, Any]]]

        def alt_response(
            self, status: int, response: str | None = None, **options: Any
        ) -> Callable[[_View], _View]: ...
        @staticmethod
        def doc(**options: Any) -> Callable[[_View], _View]: ...

else:
    _Blueprint = flask_smorest.Blueprint

#: Methods that may change something (RFC 9110, 9.2.1).
UNSAFE = frozenset({"post", "put", "patch", "delete"})
#: What every call that changes something, and every one with a body, may be answered beside its own answers.
_UNSAFE_MAY_SAY = tuple(map(http.HTTPStatus, (400, 422, 503, 504)))
_WITH_A_BODY_MAY_SAY = tuple(map(http.HTTPStatus, (413, 415)))


class Blueprint(_Blueprint):
    """flask-smorest's blueprint, with `arguments` read by the strict parser. One query schema a view.

    In the document, calls that change something take an `Idempotency-Key`, and those that may be answered 202 a
    `Prefer`, as the code does; the errors that these rules may lead to are named.
    """

    ARGUMENTS_PARSER = StrictParser()

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._prepare_doc_cbks.append(_with_headers)


def _with_headers(doc: dict[str, Any], doc_info: Any, *, method: str, **_: Any) -> dict[str, Any]:
    """The operation as flask-smorest knows it, and what all of its sort have in common."""
    if method.lower() not in UNSAFE:
        return doc
    answers = {str(int(status)) for status in doc["responses"] if status != "default"}
    headers = ["IdempotencyKey", *(["Prefer"] if "202" in answers else [])]
    doc.setdefault("parameters", []).extend(headers)
    for status in (*_UNSAFE_MAY_SAY, *(_WITH_A_BODY_MAY_SAY if "requestBody" in doc else ())):
        if str(int(status)) not in answers:
            doc["responses"][str(int(status))] = status.name
    return doc
