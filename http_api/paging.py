"""Keyset paging: a page begins after the last row of the page before, wherever that row is by now.

`?limit=` and `?after=` ask (`http_api.schemas.PageArgs`); the answer is a bare JSON array, and while there is
more it has `Link: <…>; rel="next"` (RFC 8288), to be followed as it is. `after` is the key of the last row,
packed; clients must not look into it.

Unlike an offset it stays right while rows come and go: no row is shown twice, and none that was there from
the first page to the last is left out. A row that is *committed* behind the place where the reader already is
(a lower id handed out earlier, committed later) is not seen by that reader.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import json
import uuid
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode

import flask
import sqlalchemy as sa
from sqlalchemy.orm import QueryableAttribute, Session, scoped_session

from http_api.problems import ProblemError, error_at, validation_problem
from http_api.schemas import BIGINT_MAX, BIGINT_MIN

Column = sa.ColumnElement[Any] | QueryableAttribute[Any]


def page(
    session: Session | scoped_session[Any],
    statement: sa.Select[*tuple[Any, ...]],
    *,
    key: Sequence[Column],
    args: Mapping[str, Any],
    newest_first: bool = False,
) -> tuple[list[Any], dict[str, str]]:
    """One page of the statement's rows, and the headers that lead to the next.

    `key` is what orders the rows: columns that are unique together and never NULL or changed, such as
    `(Model.id,)` or `(Model.created_at, Model.id)`; integers, UUIDs, texts and timestamps. The statement's
    own order is replaced. Rows are entities when the statement selects one thing, else row tuples.

    Raises the 422 of a cursor that is not one of ours for these columns.
    """
    limit: int = args["limit"]
    order = [column.desc() if newest_first else column.asc() for column in key]
    ordered = statement.order_by(None).order_by(*order)
    if args.get("after") is not None:
        ordered = ordered.where(_beyond(key, _unpacked(args["after"], key), newest_first))

    # The key is selected beside the rows, so that it is at hand whatever the rows are.
    width = len(statement.column_descriptions)
    found = session.execute(ordered.add_columns(*key).limit(limit + 1)).unique().all()
    rows = [row[0] if width == 1 else tuple(row[:width]) for row in found[:limit]]
    if len(found) <= limit:
        return rows, {}
    return rows, {"Link": f'<{_next_url(_packed(found[limit - 1][width:]))}>; rel="next"'}


def _beyond(key: Sequence[Column], values: Sequence[Any], newest_first: bool) -> sa.ColumnElement[bool]:
    """Row comparison, `(a, b) > (x, y)`: PostgreSQL answers it from an index over (a, b)."""
    ours = sa.tuple_(*key)
    last = sa.tuple_(*(sa.literal(value, column.type) for value, column in zip(values, key, strict=True)))
    return ours < last if newest_first else ours > last


def _next_url(cursor: str) -> str:
    """The same request with another `after`: every other argument stays (an absolute path, RFC 3986, 4.2)."""
    request = flask.request
    kept = [(name, value) for name, value in request.args.items(multi=True) if name != "after"]
    return f"{quote(request.root_path.rstrip('/') + request.path)}?{urlencode([*kept, ('after', cursor)])}"


# --- the cursor -------------------------------------------------------------------------------------------


def _packed(values: Sequence[Any]) -> str:
    plain = [value if isinstance(value, int) else _text(value) for value in values]
    return base64.urlsafe_b64encode(json.dumps(plain).encode()).decode().rstrip("=")


def _text(value: Any) -> str:
    return value.isoformat() if isinstance(value, dt.datetime) else str(value)


def _unpacked(cursor: str, key: Sequence[Column]) -> list[Any]:
    """The values again, each of its column's type; whatever else was put in their place is a 422."""
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        values = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        if not isinstance(values, list) or len(values) != len(key):
            raise ValueError("not a cursor for this list")
        return [_typed(value, column.type.python_type) for value, column in zip(values, key, strict=True)]
    except (ValueError, TypeError, binascii.Error, RecursionError):
        raise _not_a_cursor() from None


def _typed(value: Any, kind: type) -> Any:
    if kind is int:
        if type(value) is int and BIGINT_MIN <= value <= BIGINT_MAX:
            return value
    elif isinstance(value, str) and "\x00" not in value and value.isprintable():
        if kind is uuid.UUID:
            return uuid.UUID(value)
        if kind is dt.datetime:
            return dt.datetime.fromisoformat(value)
        if kind is str:
            return value
    raise ValueError("not a value of this column")


def _not_a_cursor() -> ProblemError:
    detail = "Not a cursor of this list: take it from the Link header of the page before."
    return validation_problem([error_at("query", "after", detail)])
