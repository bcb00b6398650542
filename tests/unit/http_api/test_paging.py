"""Paging: every row once, in order, whatever comes and goes between pages; and cursors that are not ours."""

from __future__ import annotations

import base64
import datetime as dt
import json
import re
import uuid
from collections.abc import Iterator
from typing import Any

import flask
import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy.pool import StaticPool

from http_api.app import install
from http_api.blueprint import Blueprint
from http_api.paging import page
from http_api.schemas import PageArgs, StrictInteger, StrictSchema, Text


class Base(DeclarativeBase):
    pass


class Song(Base):
    __tablename__ = "songs"
    id: Mapped[int] = mapped_column(primary_key=True)
    code: Mapped[uuid.UUID]
    heard: Mapped[dt.datetime]
    mood: Mapped[str]


NOON = dt.datetime(2031, 5, 14, 12)  # naive: SQLite has no time zones


def song(number: int) -> Song:
    """Three songs share a minute; the codes run against the numbers."""
    heard = NOON + dt.timedelta(minutes=number // 3)
    mood = "merry" if number % 2 else "sad & <slow>"
    return Song(id=number, code=uuid.UUID(int=1000 - number), heard=heard, mood=mood)


@pytest.fixture
def session() -> Iterator[Session]:
    engine = sa.create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add_all(song(number) for number in range(1, 11))
        session.commit()
        yield session
    engine.dispose()


class SongSchema(StrictSchema):
    id = StrictInteger()


class SongArgs(PageArgs):
    mood = Text(20)


ORDERS: dict[str, tuple[Any, bool]] = {
    "id": ((Song.id,), False),
    "id-newest": ((Song.id,), True),
    "code": ((Song.code,), False),
    "heard": ((Song.heard, Song.id), False),
    "heard-newest": ((Song.heard, Song.id), True),
}


@pytest.fixture
def client(session: Session) -> flask.testing.FlaskClient:
    app = flask.Flask(__name__)
    api = install(app, title="Songs", checks={})
    songs = Blueprint("songs", __name__)

    @songs.get("/songs/<order>")
    @songs.arguments(SongArgs, location="query")
    @songs.response(200, SongSchema(many=True))
    def listing(args: dict[str, Any], order: str) -> tuple[list[Song], dict[str, str]]:
        key, newest_first = ORDERS[order]
        statement = sa.select(Song)
        if "mood" in args:
            statement = statement.where(Song.mood == args["mood"])
        return page(session, statement, key=key, args=args, newest_first=newest_first)

    api.register_blueprint(songs)
    return app.test_client()


def next_of(response: Any) -> str | None:
    link = response.headers.get("Link")
    if link is None:
        return None
    found = re.fullmatch(r'<([^<>]+)>; rel="next"', link)
    assert found is not None
    return found[1]


def pages(client: flask.testing.FlaskClient, url: str | None) -> Iterator[list[int]]:
    while url is not None:
        response = client.get(url)
        assert response.status_code == 200, response.get_json()
        yield [row["id"] for row in response.get_json()]
        url = next_of(response)


UP, DOWN = list(range(1, 11)), list(range(10, 0, -1))


@pytest.mark.parametrize(
    ("order", "ids"),
    [("id", UP), ("id-newest", DOWN), ("code", DOWN), ("heard", UP), ("heard-newest", DOWN)],
)
@pytest.mark.parametrize("limit", [1, 2, 3, 4, 9, 10, 11, 500])
def test_following_next_shows_every_row_once_and_in_order(
    client: flask.testing.FlaskClient, order: str, ids: list[int], limit: int
) -> None:
    shown = list(pages(client, f"/songs/{order}?limit={limit}"))
    assert [row for one in shown for row in one] == ids
    assert all(len(one) == limit for one in shown[:-1])
    assert shown[-1], "the last page is never empty"


def test_without_a_limit_fifty_rows_are_shown(client: flask.testing.FlaskClient, session: Session) -> None:
    session.add_all(song(number) for number in range(11, 52))
    assert [len(one) for one in pages(client, "/songs/id")] == [50, 1]


def test_no_rows_are_an_empty_array_without_a_link(client: flask.testing.FlaskClient, session: Session) -> None:
    session.execute(sa.delete(Song))
    response = client.get("/songs/id")
    assert (response.get_json(), next_of(response)) == ([], None)


def test_rows_that_come_and_go_between_pages_shift_nothing(client: flask.testing.FlaskClient, session: Session) -> None:
    reader = pages(client, "/songs/id?limit=4")
    assert next(reader) == [1, 2, 3, 4]
    session.execute(sa.delete(Song).where(Song.id.in_([2, 4, 6])))  # 4 was the last row shown
    session.add(song(11))
    assert next(reader) == [5, 7, 8, 9]
    assert next(reader) == [10, 11]
    assert list(reader) == []


def test_the_link_keeps_the_other_arguments(client: flask.testing.FlaskClient) -> None:
    response = client.get("/songs/id", query_string={"mood": "sad & <slow>", "limit": "2"})
    url = next_of(response)
    assert url is not None
    assert url.startswith("/songs/id?mood=sad+%26+%3Cslow%3E&limit=2&after=")
    assert [row for one in pages(client, url) for row in one] == [6, 8, 10]


def test_a_statement_of_several_columns_gives_row_tuples(session: Session) -> None:
    statement = sa.select(Song.mood, Song.code).order_by(Song.mood)
    with flask.Flask(__name__).test_request_context("/songs"):
        rows, headers = page(session, statement, key=(Song.id,), args={"limit": 1, "after": None})
    assert rows == [("merry", uuid.UUID(int=999))]
    assert set(headers) == {"Link"}


def test_a_column_that_is_also_the_key_is_a_row_like_any_other(session: Session) -> None:
    table = Song.__table__
    with flask.Flask(__name__).test_request_context("/songs"):
        rows, headers = page(
            session, sa.select(table.c.id), key=(table.c.heard, table.c.id), args={"limit": 3}, newest_first=True
        )
    assert rows == [10, 9, 8]
    assert set(headers) == {"Link"}


@pytest.mark.parametrize("limit", ["0", "-1", "501", "1.0", "ten", "", " 5", "٣", "1e2", "9" * 30, "9" * 5000])
def test_a_limit_that_is_none_is_a_problem_that_names_it(client: flask.testing.FlaskClient, limit: str) -> None:
    response = client.get("/songs/id", query_string={"limit": limit})
    assert_names(response, "limit")


def packed(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    ("order", "cursor"),
    [
        ("id", ""),
        ("id", "7"),
        ("id", "not!base64"),
        ("id", "é"),
        ("id", "x" * 513),
        ("id", packed(7)),
        ("id", packed([])),
        ("id", packed([1, 2])),
        ("id", packed(["7"])),
        ("id", packed([7.0])),
        ("id", packed([True])),
        ("id", packed([None])),
        ("id", packed([2**63])),
        ("id", packed({"a": 1})),
        ("id", base64.urlsafe_b64encode(b"\xff\xfe").decode()),
        ("id", base64.urlsafe_b64encode(b"[" + b"9" * 300 + b"]").decode()),
        ("id", base64.urlsafe_b64encode(b"[" * 300).decode()),
        ("code", packed([7])),
        ("code", packed(["no-uuid"])),
        ("heard", packed([7, 7])),
        ("heard", packed(["yesterday", 7])),
        ("heard", packed(["2031-05-14T12:00:00\x00", 7])),
        ("heard", packed(["2031-05-14T12:00:00"])),
    ],
)
def test_a_cursor_that_is_not_ours_is_a_problem_that_names_it(
    client: flask.testing.FlaskClient, order: str, cursor: str
) -> None:
    response = client.get(f"/songs/{order}", query_string={"after": cursor})
    assert_names(response, "after")


def assert_names(response: Any, field: str) -> None:
    assert response.status_code == 422
    assert response.mimetype == "application/problem+json"
    (error,) = response.get_json()["errors"]
    assert (error["in"], error["field"]) == ("query", field)
