"""`Idempotency-Key` (IETF draft 07): both forms of the header, and what makes two requests the same one."""

from __future__ import annotations

import base64
import json
import re
import uuid
from typing import Any

import flask
import pytest

from atomic_commit import IdempotencyKey
from http_api.app import install
from http_api.idempotency import caller, fingerprint, from_request, parse_key
from http_api.problems import ProblemError


@pytest.mark.parametrize(
    ("header", "key"),
    [
        ('"8e03978e-40d5-43dd-bc93-6894a57f9324"', "8e03978e-40d5-43dd-bc93-6894a57f9324"),
        ("8e03978e-40d5-43dd-bc93-6894a57f9324", "8e03978e-40d5-43dd-bc93-6894a57f9324"),
        ('"order 7, again; please"', "order 7, again; please"),
        (r'"say \"hi\" \\ bye"', r'say "hi" \ bye'),
        (r"a\b:c/d+e=f~!#", r"a\b:c/d+e=f~!#"),
        ('  "abc" ', "abc"),
        ("x" * 255, "x" * 255),
        ('"' + r"\\" * 255 + '"', "\\" * 255),
    ],
)
def test_both_forms_are_read(header: str, key: str) -> None:
    assert parse_key([header]) == key


def test_no_header_is_no_key() -> None:
    assert parse_key([]) is None


@pytest.mark.parametrize(
    "headers",
    [
        [""],
        ["   "],
        ['""'],
        ["x" * 256],
        ['"' + "x" * 256 + '"'],
        ["schlüssel"],
        ['"schlüssel"'],
        ['"tab\there"'],
        ['"nul\x00"'],
        ["del\x7f"],
        ["two words"],
        ["a,b"],
        ["a;b"],
        ['a"b'],
        ['"abc'],
        ['abc"'],
        ['"'],
        ['"abc\\"'],
        [r'"a\b"'],
        ['"a" "b"'],
        ['"a","b"'],
        ['"a";p=1'],
        ["a", "b"],
        ["a", "a"],
    ],
)
def test_a_key_that_cannot_be_read_is_the_clients_error(headers: list[str]) -> None:
    with pytest.raises(ProblemError) as caught:
        parse_key(headers)
    problem = caught.value
    assert (problem.type.name, problem.status) == ("invalid-header", 400)
    (error,) = problem.extensions["errors"]
    assert (error["in"], error["field"]) == ("header", "Idempotency-Key")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (("POST", "/a", {"x": 1, "y": 2}), ("POST", "/a", {"y": 2, "x": 1}), True),
        (("POST", "/a", {"x": [{"p": 1, "q": 2}]}), ("POST", "/a", {"x": [{"q": 2, "p": 1}]}), True),
        (("POST", "/a", {"x": 1}), ("POST", "/a", {"x": 2}), False),
        (("POST", "/a", {"x": 1}), ("POST", "/a", {"x": "1"}), False),
        (("POST", "/a", {"x": [1, 2]}), ("POST", "/a", {"x": [2, 1]}), False),
        (("POST", "/a", None), ("POST", "/a", {}), False),
        (("POST", "/a", None), ("PUT", "/a", None), False),
        (("POST", "/a/1", None), ("POST", "/a/2", None), False),
    ],
)
def test_the_fingerprint_is_of_what_is_asked_and_not_of_its_spelling(
    one: tuple[str, str, Any], other: tuple[str, str, Any], same: bool
) -> None:
    assert (fingerprint(*one) == fingerprint(*other)) is same


def test_a_fingerprint_is_a_sha256_also_of_values_that_json_does_not_have() -> None:
    value = fingerprint("POST", "/a", {"id": uuid.UUID(int=7), "name": "Zoë \U0001f600"})
    assert len(value) == 64
    assert set(value) <= set("0123456789abcdef")


@pytest.fixture
def app() -> flask.Flask:
    app = flask.Flask(__name__)
    install(app, title="Keys", checks={})

    @app.delete("/things/<int:thing_id>")
    def remove(thing_id: int) -> dict[str, object]:
        key = from_request(flask.request)
        return {"key": key and vars(key)}

    return app


def key_of(app: flask.Flask, path: str, **headers: str) -> IdempotencyKey | None:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    key = app.test_client().delete(path, headers=sent).get_json()["key"]
    return key and IdempotencyKey(**key)


def test_a_repetition_has_the_same_key_in_every_part(app: flask.Flask) -> None:
    first = key_of(app, "/things/7", Idempotency_Key='"abc"', Authorization="Bearer one")
    again = key_of(app, "/things/7/", Idempotency_Key="abc", Authorization="Bearer one")
    assert first is not None
    assert first == again
    assert (first.route, first.key) == ("DELETE /things/<int:thing_id>", "abc")


def test_another_thing_under_the_same_key_has_another_fingerprint_on_the_same_route(app: flask.Flask) -> None:
    seven, eight = (key_of(app, f"/things/{n}", Idempotency_Key="abc") for n in (7, 8))
    assert seven is not None
    assert eight is not None
    assert seven.route == eight.route
    assert seven.fingerprint != eight.fingerprint


def test_a_request_without_the_header_has_no_key(app: flask.Flask) -> None:
    assert key_of(app, "/things/7") is None


def test_two_headers_are_refused_also_when_the_server_joins_them(app: flask.Flask) -> None:
    twice = [("Idempotency-Key", "abc"), ("Idempotency-Key", "abd")]
    assert app.test_client().delete("/things/7", headers=twice).status_code == 400


@pytest.mark.parametrize("headers", [{}, {"Authorization": ""}])
def test_without_credentials_everyone_is_one_caller(app: flask.Flask, headers: dict[str, str]) -> None:
    assert caller_with(app, headers) == "anonymous"


def test_the_caller_is_known_by_a_hash_of_the_credentials(app: flask.Flask) -> None:
    names = [caller_with(app, {"Authorization": value}) for value in ("Bearer one", "Bearer two", "Bearer zwölf")]
    assert len(set(names)) == 3
    assert all(re.fullmatch("[0-9a-f]{16}", name) for name in names)
    assert caller_with(app, {"Authorization": "Bearer one"}) == names[0]


def caller_with(app: flask.Flask, headers: dict[str, str]) -> str:
    with app.test_request_context(headers=headers):
        return caller(flask.request)


# ---- who asks


def asked_with(authorization: str | None) -> str:
    app = flask.Flask("a service")
    headers = {} if authorization is None else {"Authorization": authorization}
    with app.test_request_context("/", headers=headers):
        return caller(flask.request)


def token(**claims: Any) -> str:
    """A JWT with these claims; its signature is nobody's business here."""
    parts = ({"alg": "EdDSA"}, claims)
    return (
        ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts)
        + f".{uuid.uuid4().hex}"
    )


def test_a_refreshed_token_is_the_same_caller() -> None:
    first, second = (asked_with(f"Bearer {token(iss='users', sub='7', exp=time)}") for time in (1, 2))
    assert first == second
    assert first != asked_with(f"Bearer {token(iss='users', sub='8', exp=1)}")
    assert first != asked_with(f"Bearer {token(iss='others', sub='7', exp=1)}")


def test_a_changed_password_is_the_same_caller() -> None:
    ada, ada_again, grace = (
        asked_with("Basic " + base64.b64encode(text.encode()).decode())
        for text in ("ada:secret", "ada:changed", "grace:secret")
    )
    assert ada == ada_again != grace


@pytest.mark.parametrize(
    "credentials",
    [
        "Bearer opaque",
        "Bearer a.b.c",
        "Bearer e30.e30.e30",
        "Bearer e30.W10.e30",
        "Basic !",
        "Digest x",
        "é",
        "Basic é",
    ],
)
def test_credentials_that_name_nobody_stand_for_themselves(credentials: str) -> None:
    assert asked_with(credentials) == asked_with(credentials) != asked_with(credentials + "x")
    assert asked_with(credentials) != asked_with(None)
