"""What the fields of a request may say: they convert nothing.

Marshmallow is kind by default: `"7"`, `7.0` and `true` all pass for an integer somewhere. Whoever gets an answer from
here was understood exactly. `blueprint` says how the request as a whole is read.
"""

from __future__ import annotations

import datetime as dt
import re
import unicodedata
from typing import Any

import marshmallow as ma
from marshmallow import fields, validate

INTEGER_MAX = 2**31 - 1
BIGINT_MIN, BIGINT_MAX = -(2**63), 2**63 - 1  # PostgreSQL, table 8.2


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
