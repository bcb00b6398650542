"""What a request may say: bodies that are JSON to the letter, fields that convert nothing.

Marshmallow is kind by default: `"7"`, `7.0` and `true` all pass for an integer somewhere, Python's `json`
reads `NaN` and takes the last of two equal members. Whoever gets an answer from here was understood exactly.

`Blueprint` is flask-smorest's with the strict parser; `Api.register_blueprint` takes no other.

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

import datetime as dt
import http
import json
import math
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

import flask
import flask_smorest
import marshmallow as ma
from marshmallow import fields, validate
from webargs.flaskparser import FlaskParser, is_json_request
from werkzeug.exceptions import RequestEntityTooLarge

from http_api.problems import ProblemError, errors_of, validation_problem

INTEGER_MAX = 2**31 - 1
BIGINT_MIN, BIGINT_MAX = -(2**63), 2**63 - 1  # PostgreSQL, table 8.2
DEEPEST = 32
NOT_STORABLE = "Must not contain NUL characters or half surrogate pairs."


# --- the body as a whole ----------------------------------------------------------------------------------


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
        raise _malformed(f"It is nested deeper than {DEEPEST} levels.") from None
    except json.JSONDecodeError as error:
        raise _malformed(f"{error.msg} at line {error.lineno}, column {error.colno}.") from None
    except UnicodeDecodeError:
        raise _malformed("It is not UTF-8.") from None
    except ValueError as error:
        raise _malformed(str(error)) from None
    if _deeper_than(value, DEEPEST):
        raise _malformed(f"It is nested deeper than {DEEPEST} levels.")
    return value


def _malformed(detail: str) -> ProblemError:
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


def _storable(text: str) -> bool:
    return "\x00" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


def _unstorable(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every text, name or value, that no text column can hold; `value` is known to be shallow."""
    if isinstance(value, str):
        if not _storable(value):
            yield path
    elif isinstance(value, Mapping):
        for name, member in value.items():
            if not _storable(name):
                yield path
            yield from _unstorable(member, (*path, name))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _unstorable(item, (*path, index))


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
            self._refuse(_unstorable(value))
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
        self._refuse((name,) for name, values in req.args.lists() if not all(map(_storable, [name, *values])))
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
        raise _malformed("It could not be read to its end.") from error
    if limit is not None and len(raw) > limit:
        raise RequestEntityTooLarge()
    if request.content_length is not None and len(raw) < request.content_length:
        raise _malformed("It ended before its Content-Length.")
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


# --- schemas and fields -----------------------------------------------------------------------------------


class StrictSchema(ma.Schema):
    """Base of every schema: unknown fields are errors, members keep the order in which they are written."""

    error_messages = {
        "type": "Must be a JSON object.",
        "unknown": "Unknown field.",
    }

    class Meta:
        unknown = ma.RAISE


class StrictInteger(fields.Integer):
    """An integer of a JSON body: not `"7"`, not `7.0`, not `true`. Without bounds, what a bigint holds."""

    def __init__(self, *, min: int = BIGINT_MIN, max: int = BIGINT_MAX, **options: Any) -> None:
        super().__init__(strict=True, validate=validate.Range(min, max), **options)

    def _validated(self, value: Any) -> int:
        if type(value) is not int:
            raise self.make_error("invalid", input=value)
        return value


class QueryInteger(StrictInteger):
    """An integer of a query string, where everything is text: ASCII digits and nothing around them."""

    def _validated(self, value: Any) -> int:
        if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,40}", value):
            return int(value)
        raise self.make_error("invalid", input=value)


#: Characters that no text may have (control characters, line and paragraph separators), and those that it must not
#: begin or end with, as the OpenAPI document says them: in ECMA 262's regular expressions, without its classes, which
#: are others than Python's.
_CONTROLS = r"\u0000-\u001f\u007f-\u009f\u2028\u2029"
_BLANKS = r"\u0020\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000"
ONE_LINE = f"^[^{_CONTROLS}{_BLANKS}]([^{_CONTROLS}]*[^{_CONTROLS}{_BLANKS}])?$"
_ONE_LINE_IN_WORDS = "One line, without control characters, no blanks at its ends, something visible in it."


class Text(fields.String):
    """One line of text that can be stored, shown and found again; converted in nothing, not even trimmed.

    Refused: blanks at either end (two names that look the same), control characters and line breaks, text
    with nothing to see in it, more than `max_length` characters.
    """

    default_error_messages = {
        "blanks": "Must not begin or end with blanks.",
        "characters": "Must not contain control characters or line breaks.",
        "invisible": "Must have at least one visible character.",
    }

    def __init__(self, max_length: int = 200, **options: Any) -> None:
        self.max_length = max_length
        self.length = validate.Length(1, max_length)
        said = {"pattern": ONE_LINE, "description": _ONE_LINE_IN_WORDS}
        options["metadata"] = said | options.get("metadata", {})
        # Also as a validator, from where the OpenAPI document takes minLength and maxLength.
        super().__init__(validate=[self.length, *self._further()], **options)

    @staticmethod
    def _further() -> list[validate.Validator]:
        return []

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text = super()._deserialize(value, attr, data, **kwargs)
        if not 1 <= len(text) <= self.max_length:
            self.length(text)  # raises: nothing else looks at a megabyte of text
        categories = {unicodedata.category(character) for character in text}
        if categories & {"Cc", "Cs", "Zl", "Zp"}:
            raise self.make_error("characters")
        if text != text.strip():
            raise self.make_error("blanks")
        if all(category.startswith(("C", "Z")) for category in categories):
            raise self.make_error("invisible")
        return text


class Email(Text):
    """An e-mail address by its shape, at most 254 characters (RFC 5321, 4.5.3.1.3); kept as it is written."""

    def __init__(self, **options: Any) -> None:
        said = {"format": "email", "description": "An e-mail address by its shape; kept as it is written."}
        options["metadata"] = said | options.get("metadata", {})
        super().__init__(254, **options)

    @staticmethod
    def _further() -> list[validate.Validator]:
        return [validate.Email()]


_RFC_3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)


class Timestamp(fields.Field[dt.datetime]):
    """A moment as RFC 3339 in UTC: `2031-05-14T09:26:53.589793Z`. Always six decimals: text sorts as time.

    Any offset is read and turned to UTC; a time without one is no moment, and dumping one is a defect.
    """

    default_error_messages = {
        "invalid": "Must be a timestamp as in RFC 3339, as 2031-05-14T09:26:53Z.",
    }

    def __init__(self, **options: Any) -> None:
        options["metadata"] = {"type": "string", "format": "date-time", **options.get("metadata", {})}
        super().__init__(**options)

    def _serialize(self, value: dt.datetime | None, attr: str | None, obj: Any, **kwargs: Any) -> str | None:
        return None if value is None else rfc3339(value)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> dt.datetime:
        if not isinstance(value, str) or not _RFC_3339.fullmatch(value):
            raise self.make_error("invalid")
        try:
            return dt.datetime.fromisoformat(value.upper()).astimezone(dt.UTC)
        except (ValueError, OverflowError) as error:
            raise self.make_error("invalid") from error


def rfc3339(moment: dt.datetime) -> str:
    """The one way a time is written outside the process."""
    if moment.utcoffset() is None:
        raise ValueError("a time without offset is no moment")
    return moment.astimezone(dt.UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


DEFAULT_PAGE, LARGEST_PAGE = 50, 500


class PageArgs(StrictSchema):
    """`?limit=` and `?after=` of every list; a list with filters inherits from it and adds them."""

    limit = QueryInteger(
        min=1,
        max=LARGEST_PAGE,
        load_default=DEFAULT_PAGE,
        metadata={"description": "How many rows at most."},
    )
    after = Text(
        512,
        metadata={"description": "Where the page before ended: as given by its Link header, opaque."},
    )


# --- for the OpenAPI document only ------------------------------------------------------------------------


class ProblemErrorSchema(ma.Schema):
    """One entry of a problem's `errors`."""

    location = fields.String(data_key="in", required=True, validate=validate.OneOf(["body", "query", "path", "header"]))
    field = fields.String(required=True, metadata={"example": "lines.0.quantity"})
    pointer = fields.String(metadata={"description": "RFC 6901, in a body", "example": "#/lines/0/quantity"})
    detail = fields.String(required=True, metadata={"example": "Not a valid integer."})


class ProblemSchema(ma.Schema):
    """A problem as RFC 9457 describes it; each type may add members of its own."""

    class Meta:
        unknown = ma.INCLUDE

    type = fields.String(required=True, metadata={"format": "uri-reference", "example": "/problems/validation"})
    title = fields.String(required=True)
    status = fields.Integer(required=True)
    detail = fields.String(required=True)
    instance = fields.String(metadata={"format": "uri-reference"})
    errors = fields.List(fields.Nested(ProblemErrorSchema))
