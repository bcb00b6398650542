"""Every error is a problem (RFC 9457): each way to go wrong, and the type, status and place it is given."""

from __future__ import annotations

import datetime as dt
import io
import json
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import flask
import flask_smorest
import marshmallow as ma
import pytest
import sqlalchemy.exc
from marshmallow import fields
from werkzeug.exceptions import HTTPException

from atomic_commit.postgres.readiness import NotReady
from http_api.app import MAX_BODY, install
from http_api.blueprint import Blueprint
from http_api.problem_types import PROBLEM_TYPES
from http_api.problems import ProblemError
from http_api.schemas import (
    INTEGER_MAX,
    Email,
    PageArgs,
    QueryInteger,
    StrictInteger,
    StrictSchema,
    Text,
    Timestamp,
    rfc3339,
)


class Verse(StrictSchema):
    line = StrictInteger(min=1, max=INTEGER_MAX, required=True)
    words = Text(20)


class Poem(StrictSchema):
    title = Text(10, required=True)
    author = Email()
    number = StrictInteger()
    written = Timestamp()
    verses = fields.List(fields.Nested(Verse))


class PoemArgs(PageArgs):
    number = QueryInteger()
    title = Text(10)


class DatabaseSaysNo(Exception):
    """What a driver raises: with a SQLSTATE, or without when there is no connection to hear one from."""

    def __init__(self, message: str, pgcode: str | None = None) -> None:
        super().__init__(message)
        self.pgcode = pgcode


def database(kind: type[sqlalchemy.exc.DBAPIError], pgcode: str | None = None) -> sqlalchemy.exc.DBAPIError:
    return kind("SELECT secret", {}, DatabaseSaysNo("no luck\nwith a second line", pgcode))


RAISED: dict[str, Callable[[], Exception]] = {
    "refused": lambda: ProblemError("refused", "The warehouse is full.", branch="b", reason="full", type="mine"),
    "aborted": lambda: ProblemError("aborted", "Given up.", headers={"Retry-After": "9"}),
    "serialization": lambda: database(sqlalchemy.exc.OperationalError, "40001"),
    "deadlock": lambda: database(sqlalchemy.exc.OperationalError, "40P01"),
    "lock": lambda: database(sqlalchemy.exc.OperationalError, "55P03"),
    "wrapped-lock": lambda: database(sqlalchemy.exc.DBAPIError, "55P03"),
    "unreachable": lambda: database(sqlalchemy.exc.OperationalError),
    "closed": lambda: database(sqlalchemy.exc.InterfaceError),
    "shutdown": lambda: database(sqlalchemy.exc.OperationalError, "57P01"),
    "pool": lambda: sqlalchemy.exc.TimeoutError("QueuePool limit"),
    "no-table": lambda: database(sqlalchemy.exc.ProgrammingError, "42P01"),
    "defect": lambda: ZeroDivisionError("secret"),
}


@pytest.fixture
def app() -> flask.Flask:
    app = flask.Flask(__name__)
    api = install(app, title="Poems", checks={})
    poems = Blueprint("poems", __name__, url_prefix="/poems")

    @poems.post("")
    @poems.arguments(Poem)
    @poems.response(201, Poem)
    def add(poem: dict[str, Any]) -> dict[str, Any]:
        return poem

    @poems.get("")
    @poems.arguments(PoemArgs, location="query")
    def listing(args: dict[str, Any]) -> flask.Response:
        return flask.jsonify(args)

    @poems.get("/<int:poem_id>")
    def one(poem_id: int) -> dict[str, int]:
        return {"id": poem_id}

    @poems.post("/raise/<name>")
    def fail(name: str) -> str:
        raise RAISED[name]()

    @poems.post("/abort/<int:status>")
    def abort(status: int) -> str:
        flask_smorest.abort(status, message="In so many words.")
        return "never"

    api.register_blueprint(poems)
    return app


@pytest.fixture
def client(app: flask.Flask) -> flask.testing.FlaskClient:
    return app.test_client()


def problem_of(response: Any, name: str, status: int) -> dict[str, Any]:
    """The body, after the members that every problem has were looked at."""
    body: dict[str, Any] = response.get_json()
    assert (response.status_code, body["type"]) == (status, f"/problems/{name}"), body
    assert response.content_type == "application/problem+json"
    assert (body["status"], body["title"]) == (status, PROBLEM_TYPES[name].title)
    assert body["detail"]
    assert body["instance"] == response.request.path
    return body


def send(client: flask.testing.FlaskClient, body: str | bytes, content_type: str = "application/json") -> Any:
    return client.post("/poems", data=body, content_type=content_type)


def poem(**changes: object) -> str:
    return json.dumps({"title": "Ode", **changes})


# --- bodies -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        "",
        "{",
        "{'title': 'Ode'}",
        '{"title": "Ode"} trailing',
        '{"title": "Ode",}',
        '{"title": "raw\x00nul"}',
        '{"number": NaN}',
        '{"number": Infinity}',
        '{"number": -Infinity}',
        '{"number": 1e999}',
        '{"number": 01}',
        '{"title": "Ode", "title": "Elegy"}',
        '{"title": "Ode", "verses": [{"line": 1, "line": 2}]}',
        b'{"title": "\xff"}',
        b'\xef\xbb\xbf{"title": "Ode"}',
        '{"title": "Ode"}'.encode("utf-16"),
        "[" * 40 + "]" * 40,
        '{"title":' * 40 + "1" + "}" * 40,
        "[" * 100_000,
        '{"title":' * 50_000,
    ],
)
def test_what_is_not_json_is_malformed(client: flask.testing.FlaskClient, body: str | bytes) -> None:
    problem_of(send(client, body), "malformed-json", 400)


@pytest.mark.parametrize("body", ["[]", "null", "7", "true", '"Ode"', '[{"title": "Ode"}]'])
def test_json_that_is_no_object_names_the_body(client: flask.testing.FlaskClient, body: str) -> None:
    problem = problem_of(send(client, body), "validation", 422)
    entry = {"in": "body", "field": "", "pointer": "#", "detail": "Must be a JSON object."}
    assert problem["errors"] == [entry]


@pytest.mark.parametrize(
    "content_type",
    ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/xml"],
)
def test_a_body_not_declared_as_json_is_of_the_wrong_media_type(
    client: flask.testing.FlaskClient, content_type: str
) -> None:
    response = send(client, poem(), content_type)
    problem_of(response, "unsupported-media-type", 415)
    assert response.headers["Accept"] == "application/json"


def test_no_body_at_all_is_of_the_wrong_media_type(client: flask.testing.FlaskClient) -> None:
    problem_of(client.post("/poems"), "unsupported-media-type", 415)


def test_a_compressed_body_is_of_the_wrong_media_type(client: flask.testing.FlaskClient) -> None:
    response = client.post("/poems", data=poem(), headers={"Content-Encoding": "gzip"}, content_type="application/json")
    problem_of(response, "unsupported-media-type", 415)


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "APPLICATION/JSON", "application/x+json"])
def test_every_way_to_declare_json_is_read(client: flask.testing.FlaskClient, content_type: str) -> None:
    assert send(client, poem(), content_type).status_code == 201


def chunked(client: flask.testing.FlaskClient, body: bytes) -> Any:
    """As gunicorn hands it on: no length, and an input that ends by itself."""
    environ = {
        "wsgi.input_terminated": True,
        "wsgi.input": io.BytesIO(body),
        "HTTP_TRANSFER_ENCODING": "chunked",
    }
    return client.post("/poems", content_type="application/json", environ_overrides=environ)


@pytest.mark.parametrize("beyond", [1, 2, 70_000])
def test_a_body_over_the_limit_is_refused_however_it_is_sent(client: flask.testing.FlaskClient, beyond: int) -> None:
    body = poem().encode().ljust(MAX_BODY + beyond)
    problem_of(send(client, body), "body-too-large", 413)
    problem_of(chunked(client, body), "body-too-large", 413)


def test_a_body_of_just_the_limit_is_read_however_it_is_sent(client: flask.testing.FlaskClient) -> None:
    body = poem().encode().ljust(MAX_BODY)
    assert send(client, body).status_code == 201
    assert chunked(client, body).status_code == 201


def test_a_body_cut_short_is_malformed_even_when_what_came_is_json(client: flask.testing.FlaskClient) -> None:
    environ = {
        "wsgi.input_terminated": True,
        "CONTENT_LENGTH": "100",
        "wsgi.input": io.BytesIO(poem().encode()),
    }
    response = client.post("/poems", content_type="application/json", environ_overrides=environ)
    problem_of(response, "malformed-json", 400)


def test_a_body_that_breaks_while_it_is_read_is_malformed(client: flask.testing.FlaskClient) -> None:
    class Broken(io.RawIOBase):
        def readinto(self, _buffer: object) -> int:
            raise RuntimeError("invalid chunk size")

    environ = {"wsgi.input_terminated": True, "wsgi.input": Broken()}
    response = client.post("/poems", content_type="application/json", environ_overrides=environ)
    problem_of(response, "malformed-json", 400)


# --- fields -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "field", "pointer"),
    [
        ("{}", "title", "#/title"),
        (poem(title=None), "title", "#/title"),
        (poem(titel="Ode"), "titel", "#/titel"),
        (poem(**{"a/b~c d": 1}), "a/b~c d", "#/a~1b~0c%20d"),
        (poem(verses={}), "verses", "#/verses"),
        (poem(verses=[7]), "verses.0", "#/verses/0"),
        (poem(verses=[{"line": 1}, {}]), "verses.1.line", "#/verses/1/line"),
        (poem(verses=[{"line": 1, "tone": 2}]), "verses.0.tone", "#/verses/0/tone"),
    ],
)
def test_each_error_says_where_it_is(client: flask.testing.FlaskClient, body: str, field: str, pointer: str) -> None:
    problem = problem_of(send(client, body), "validation", 422)
    (error,) = problem["errors"]
    assert (error["in"], error["field"], error["pointer"]) == ("body", field, pointer)
    assert problem["detail"] == f"{field}: {error['detail']}"


def test_all_errors_are_told_at_once(client: flask.testing.FlaskClient) -> None:
    problem = problem_of(send(client, '{"number": "x", "verses": [{}]}'), "validation", 422)
    assert {error["field"] for error in problem["errors"]} == {"title", "number", "verses.0.line"}
    assert problem["detail"].endswith("(and 2 more)")


def test_a_body_of_errors_only_is_answered_briefly(client: flask.testing.FlaskClient) -> None:
    response = send(client, json.dumps({f"{number}" * 1000: 1 for number in range(200)}))
    assert len(problem_of(response, "validation", 422)["errors"]) == 100
    assert len(response.data) < 100_000


@pytest.mark.parametrize(
    "number",
    [
        '"7"',
        "7.0",
        "7.5",
        "1e3",
        "true",
        "false",
        "null",
        "[]",
        "{}",
        str(2**63),
        str(-(2**63) - 1),
        "9" * 5000,
    ],
)
def test_what_is_not_an_integer_that_can_be_stored_is_refused(client: flask.testing.FlaskClient, number: str) -> None:
    problem = problem_of(send(client, f'{{"title": "Ode", "number": {number}}}'), "validation", 422)
    assert [error["field"] for error in problem["errors"]] == ["number"]


@pytest.mark.parametrize("number", [0, -7, 2**63 - 1, -(2**63)])
def test_every_integer_that_can_be_stored_is_taken(client: flask.testing.FlaskClient, number: int) -> None:
    assert send(client, poem(number=number)).get_json()["number"] == number


@pytest.mark.parametrize("line", [0, -1, 2**31])
def test_bounds_of_a_field_are_kept(client: flask.testing.FlaskClient, line: int) -> None:
    problem = problem_of(send(client, poem(verses=[{"line": line}])), "validation", 422)
    assert [error["field"] for error in problem["errors"]] == ["verses.0.line"]


@pytest.mark.parametrize(
    "title",
    [
        "",
        " ",
        " Ode",
        "Ode ",
        "Ode\n",
        "\u00a0Ode",
        "O\tde",
        "O\nde",
        "O\x00de",
        "O\x7fde",
        "O\x85de",
        "O\u2028de",
        "\u200b",
        "O\ud800de",
        "x" * 11,
        "x" * 500_000,
        7,
        True,
        ["Ode"],
        {"a": 1},
    ],
)
def test_text_that_cannot_be_stored_or_seen_is_refused(client: flask.testing.FlaskClient, title: object) -> None:
    problem = problem_of(send(client, poem(title=title)), "validation", 422)
    assert [error["field"] for error in problem["errors"]] == ["title"]


@pytest.mark.parametrize("title", ["O", "Ode to Joy", "Żółć", "日本語", "\U0001f468\u200d\U0001f469", "a" * 10, "<b>"])
def test_other_text_is_taken_as_it_is(client: flask.testing.FlaskClient, title: str) -> None:
    assert send(client, poem(title=title)).get_json() == {"title": title}


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (r'{"title": "a\u0000b"}', "#/title"),
        (r'{"title": "a\ud800b"}', "#/title"),
        (r'{"title": "Ode", "verses": [{"line": 1, "words": "\u0000"}]}', "#/verses/0/words"),
        (r'{"unknown": ["\u0000"]}', "#/unknown/0"),
        (r'{"\u0000": 1}', "#"),
        (r'{"\udfff": 1}', "#"),
    ],
)
def test_nul_and_half_a_surrogate_pair_are_refused_wherever_they_stand(
    client: flask.testing.FlaskClient, body: str, pointer: str
) -> None:
    problem = problem_of(send(client, body), "validation", 422)
    assert [error["pointer"] for error in problem["errors"]] == [pointer]


@pytest.mark.parametrize(
    "author",
    ["", "a", "a@", "@b.org", "a b@c.org", "a@b@c.org", "a@b.org ", "a@b.org\n", "x" * 250 + "@b.org", 7],
)
def test_what_is_no_email_address_is_refused(client: flask.testing.FlaskClient, author: object) -> None:
    problem = problem_of(send(client, poem(author=author)), "validation", 422)
    assert {error["field"] for error in problem["errors"]} == {"author"}


@pytest.mark.parametrize("author", ["ada@example.org", "Ada.L+shop@sub.example.org"])
def test_an_email_address_is_kept_as_it_is_written(client: flask.testing.FlaskClient, author: str) -> None:
    assert send(client, poem(author=author)).get_json()["author"] == author


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        ("2031-05-14T09:26:53Z", "2031-05-14T09:26:53.000000Z"),
        ("2031-05-14T09:26:53.589793Z", "2031-05-14T09:26:53.589793Z"),
        ("2031-05-14t11:26:53.5+02:00", "2031-05-14T09:26:53.500000Z"),
    ],
)
def test_a_timestamp_is_told_in_utc(client: flask.testing.FlaskClient, sent: str, told: str) -> None:
    assert send(client, poem(written=sent)).get_json()["written"] == told


@pytest.mark.parametrize(
    "written",
    [
        "2031-05-14",
        "2031-05-14T09:26:53",
        "2031-05-14 09:26:53Z",
        "2031-02-30T09:26:53Z",
        "2031-W20-3T09:26:53Z",
        "0001-01-01T00:00:00+14:00",
        "2031-05-14T09:26:53Z\n",
        1_936_862_813,
    ],
)
def test_what_is_no_timestamp_is_refused(client: flask.testing.FlaskClient, written: object) -> None:
    problem = problem_of(send(client, poem(written=written)), "validation", 422)
    assert [error["field"] for error in problem["errors"]] == ["written"]


def test_a_time_without_offset_is_never_told() -> None:
    with pytest.raises(ValueError, match="no moment"):
        rfc3339(dt.datetime(2031, 5, 14))


# --- queries and paths ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("number=x", "number"),
        ("number=1.0", "number"),
        ("number=", "number"),
        (f"number={2**63}", "number"),
        ("number=1&number=2", "number"),
        ("limit=0", "limit"),
        ("title=%00", "title"),
        ("title=a%00b", "title"),
        ("titel=Ode", "titel"),
        ("a%00b=1", "a\x00b"),
    ],
)
def test_a_query_that_is_wrong_is_a_problem_that_names_the_argument(
    client: flask.testing.FlaskClient, query: str, field: str
) -> None:
    problem = problem_of(client.get(f"/poems?{query}"), "validation", 422)
    assert [(error["in"], error["field"]) for error in problem["errors"]] == [("query", field)]
    assert "pointer" not in problem["errors"][0]


def test_a_query_is_read_with_its_defaults(client: flask.testing.FlaskClient) -> None:
    assert client.get("/poems?number=-7").get_json() == {"limit": 50, "number": -7}


@pytest.mark.parametrize(
    "path",
    [
        "/nothing",
        "/poems/x",
        "/poems/-1",
        "/poems/1.0",
        "/poems/07",
        "/poems/٣",
        "/poems/7%0A",
        "/poems//7",
        "/poems/7/x",
        f"/poems/{2**63}",
        f"/poems/{10**18}",
        "/poems/" + "9" * 30,
        "/poems/" + "9" * 5000,
    ],
)
def test_a_path_that_leads_nowhere_is_not_found(client: flask.testing.FlaskClient, path: str) -> None:
    response = client.get(path)
    assert response.status_code == 404
    assert response.mimetype == "application/problem+json"
    assert response.get_json()["type"] == "/problems/not-found"
    assert response.get_json()["instance"].isascii()


@pytest.mark.parametrize("path", ["/poems/7", "/poems/7/", f"/poems/{10**18 - 1}"])
def test_a_trailing_slash_changes_nothing(client: flask.testing.FlaskClient, path: str) -> None:
    assert client.get(path).get_json() == {"id": int(path.strip("/").split("/")[1])}


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/poems", {"GET", "HEAD", "OPTIONS", "POST"}),
        ("DELETE", "/poems/7", {"GET", "HEAD", "OPTIONS"}),
        ("POST", "/livez", {"GET", "HEAD", "OPTIONS"}),
        ("PATCH", "/openapi.json", {"GET", "HEAD", "OPTIONS"}),
    ],
)
def test_a_method_that_the_path_does_not_have_is_told_which_it_has(
    client: flask.testing.FlaskClient, method: str, path: str, allowed: set[str]
) -> None:
    response = client.open(path, method=method)
    problem_of(response, "method-not-allowed", 405)
    assert set(response.headers["Allow"].split(", ")) == allowed


# --- what is raised ---------------------------------------------------------------------------------------


def test_a_problem_has_the_members_of_its_own_and_keeps_the_standard_ones(
    client: flask.testing.FlaskClient,
) -> None:
    problem = problem_of(client.post("/poems/raise/refused"), "refused", 409)
    assert (problem["detail"], problem["branch"], problem["reason"]) == (
        "The warehouse is full.",
        "b",
        "full",
    )


def test_whoever_raises_it_knows_best_when_to_try_again(client: flask.testing.FlaskClient) -> None:
    response = client.post("/poems/raise/aborted")
    problem_of(response, "aborted", 503)
    assert response.headers["Retry-After"] == "9"


@pytest.mark.parametrize(
    ("raised", "name", "retry_after"),
    [
        ("serialization", "conflict-busy", "1"),
        ("deadlock", "conflict-busy", "1"),
        ("lock", "conflict-busy", "1"),
        ("wrapped-lock", "conflict-busy", "1"),
        ("unreachable", "unavailable", "5"),
        ("closed", "unavailable", "5"),
        ("shutdown", "unavailable", "5"),
        ("pool", "unavailable", "5"),
    ],
)
def test_a_database_that_is_busy_or_away_is_one_warning_and_a_retry(
    client: flask.testing.FlaskClient,
    caplog: pytest.LogCaptureFixture,
    raised: str,
    name: str,
    retry_after: str,
) -> None:
    response = client.post(f"/poems/raise/{raised}")
    problem_of(response, name, 503)
    assert response.headers["Retry-After"] == retry_after
    (record,) = caplog.records
    assert (record.levelno, record.exc_info) == (logging.WARNING, None)
    assert f"during POST /poems/raise/{raised}" in record.getMessage()
    assert "\n" not in record.getMessage()
    assert b"luck" not in response.data


@pytest.mark.parametrize("raised", ["defect", "no-table"])
def test_a_defect_is_logged_once_with_its_traceback_and_tells_nothing(
    client: flask.testing.FlaskClient, caplog: pytest.LogCaptureFixture, raised: str
) -> None:
    response = client.post(f"/poems/raise/{raised}")
    problem_of(response, "internal-error", 500)
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.exc_info
    assert b"secret" not in response.data


@pytest.mark.parametrize(
    ("status", "name"),
    [(404, "not-found"), (413, "body-too-large"), (415, "unsupported-media-type"), (503, "unavailable")],
)
def test_abort_becomes_the_problem_of_its_status(client: flask.testing.FlaskClient, status: int, name: str) -> None:
    assert problem_of(client.post(f"/poems/abort/{status}"), name, status)["detail"] == "In so many words."


@pytest.mark.parametrize(("status", "title"), [(400, "Bad Request"), (409, "Conflict"), (418, "I'm a Teapot")])
def test_a_status_without_a_type_is_about_blank(client: flask.testing.FlaskClient, status: int, title: str) -> None:
    response = client.post(f"/poems/abort/{status}")
    assert response.mimetype == "application/problem+json"
    body = response.get_json()
    assert (body["type"], body["title"], body["status"]) == ("about:blank", title, status)


def test_errors_of_another_webargs_parser_have_the_same_shape(app: flask.Flask) -> None:
    foreign = flask_smorest.Blueprint("foreign", __name__, url_prefix="/foreign")

    @foreign.post("")  # type: ignore[untyped-decorator]
    @foreign.arguments(Poem)  # type: ignore[untyped-decorator]
    def add(poem: dict[str, Any]) -> dict[str, Any]:
        return poem

    app.register_blueprint(foreign)
    client = app.test_client()
    problem = problem_of(client.post("/foreign", json={"number": 1}), "validation", 422)
    assert problem["errors"][0]["pointer"] == "#/title"
    problem_of(client.post("/foreign", data="{", content_type="application/json"), "malformed-json", 400)


def test_an_unknown_problem_type_cannot_be_raised() -> None:
    with pytest.raises(KeyError):
        ProblemError("misspelt", "…")


# --- the pages of the types -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PROBLEM_TYPES)
def test_every_type_has_a_page_at_its_uri(client: flask.testing.FlaskClient, name: str) -> None:
    kind = PROBLEM_TYPES[name]
    page = client.get(kind.uri).get_json()
    assert page == {
        "type": kind.uri,
        "title": kind.title,
        "status": kind.status,
        "explanation": kind.explanation,
    }
    assert page in client.get("/problems").get_json()


def test_a_type_that_does_not_exist_has_no_page(client: flask.testing.FlaskClient) -> None:
    problem_of(client.get("/problems/none"), "not-found", 404)


# --- documents and health ---------------------------------------------------------------------------------


def test_every_operation_documents_problems_as_its_errors(client: flask.testing.FlaskClient) -> None:
    document = client.get("/openapi.json").get_json()
    assert (document["openapi"], document["info"]["title"], document["info"]["version"]) == ("3.0.3", "Poems", "1")
    for path in document["paths"].values():
        for method, operation in path.items():
            if method != "parameters":
                assert operation["responses"]["default"] == {"$ref": "#/components/responses/DEFAULT_ERROR"}
    for response in document["components"]["responses"].values():
        schema = {"$ref": "#/components/schemas/Problem"}
        assert response["content"] == {"application/problem+json": {"schema": schema}}


def test_the_docs_page_needs_nothing_from_elsewhere(client: flask.testing.FlaskClient) -> None:
    home = client.get("/")
    assert (home.status_code, home.headers["Location"]) == (302, "/docs")
    page = client.get("/docs").get_data(as_text=True)
    assert "//" not in page
    for asset in ("swagger-ui.css", "swagger-ui-bundle.js", "favicon-32x32.png"):
        assert f"/docs/assets/{asset}" in page
        with client.get(f"/docs/assets/{asset}") as response:
            assert response.status_code == 200
    assert '"/openapi.json"' in client.get("/docs/start.js").get_data(as_text=True)
    with client.get("/favicon.ico") as response:
        assert response.mimetype == "image/png"
    problem_of(client.get("/docs/assets/index.html"), "not-found", 404)


def test_a_blueprint_with_a_kinder_parser_is_not_registered() -> None:
    api = install(flask.Flask(__name__), title="Poems", checks={})
    with pytest.raises(TypeError, match=r"must be an http_api\.blueprint\.Blueprint"):
        api.register_blueprint(flask_smorest.Blueprint("kind", __name__))


def healthy() -> None:
    return None


def not_prepared() -> None:
    raise NotReady("max_prepared_transactions is 0")


def broken() -> None:
    raise RuntimeError("password=secret")


def client_with(**checks: Callable[[], None]) -> flask.testing.FlaskClient:
    app = flask.Flask(__name__)
    install(app, title="Poems", checks=checks)
    return app.test_client()


def test_ready_is_when_every_check_is_ok() -> None:
    response = client_with(database=healthy, migrated=healthy).get("/readyz")
    assert response.status_code == 200
    assert response.get_json() == {"status": "ready", "checks": {"database": "ok", "migrated": "ok"}}


def test_not_ready_is_a_problem_with_the_result_of_each_check() -> None:
    response = client_with(database=healthy, prepare=not_prepared, migrated=broken).get("/readyz")
    problem = problem_of(response, "unavailable", 503)
    assert problem["checks"] == {
        "database": "ok",
        "prepare": "failed: max_prepared_transactions is 0",
        "migrated": "failed: it can't be asked; the log says why",
    }
    assert response.headers["Retry-After"] == "1"


def test_a_check_that_hangs_has_failed_after_two_seconds_and_runs_once() -> None:
    runs = []
    released = threading.Event()

    def hanging() -> None:
        runs.append(1)
        released.wait(20)

    client = client_with(database=hanging, other=healthy)
    began = time.monotonic()
    answers = [client.get("/readyz").get_json()["checks"] for _ in range(2)]
    assert time.monotonic() - began < 6
    released.set()
    assert answers == [{"database": "failed: no answer within 2 s", "other": "ok"}] * 2
    assert len(runs) == 1


def test_a_check_may_use_the_app() -> None:
    def named() -> None:
        assert flask.current_app.name

    assert client_with(app=named).get("/readyz").status_code == 200


def test_alive_asks_no_check() -> None:
    response = client_with(database=broken).get("/livez")
    assert (response.status_code, response.get_json()) == (200, {"status": "alive"})


def test_json_keeps_the_order_of_the_schema_and_is_compact(client: flask.testing.FlaskClient) -> None:
    body = '{"number": 1, "title": "Ode"}'
    assert send(client, body).data == b'{"title":"Ode","number":1}\n'


def test_a_ready_made_answer_passes_unchanged(app: flask.Flask) -> None:
    @app.get("/ready-made")
    def ready_made() -> str:
        flask.abort(flask.Response("as it is", 409))

    assert app.test_client().get("/ready-made").data == b"as it is"


def test_the_registry_and_webargs_agree_that_wrong_values_are_422() -> None:
    assert PROBLEM_TYPES["validation"].status == Blueprint.ARGUMENTS_PARSER.DEFAULT_VALIDATION_STATUS
    assert issubclass(ProblemError, Exception)
    assert not issubclass(ProblemError, HTTPException | ma.ValidationError)
