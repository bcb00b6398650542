"""Which messages a worker takes apart, and which it keeps for a person."""

from __future__ import annotations

import copy
import json
from types import SimpleNamespace
from typing import Any

import pytest
from celery import chain

from atomic_commit.workers.message_form import Malformed, assert_envelope, assert_instruction, assert_task
from celery_config import create_celery
from tests.installation import INSTALLATION

TASK = INSTALLATION.task("users", "acknowledge")
REPLIES = "reply.shop.tests.control.pidbox"


def message(headers: dict[str, Any] | None = None, body: Any = None, **other: Any) -> SimpleNamespace:
    """A message as Celery itself writes it: with a callback, an error callback and a chain."""
    celery = create_celery("tests", INSTALLATION)
    one = celery.signature(TASK, kwargs={"gid": "x"}, task_id="an-id", link=[celery.signature("more")])
    one.options["link_error"] = [celery.signature("more")]
    made = celery.amqp.as_task_v2(
        "an-id", TASK, (), {"gid": "x"}, callbacks=one.options["link"], errbacks=one.options["link_error"],
        chain=list(chain(one, celery.signature("more")).tasks), expires="2026-01-01T00:00:00+00:00",
    )  # fmt: skip
    written = json.loads(json.dumps(made.body)) if body is None else body
    found = {"content_type": "application/json", "content_encoding": "utf-8", "properties": made.properties, **other}
    return SimpleNamespace(headers={**made.headers, **(headers or {})}, decode=lambda: written, **found)


def test_what_celery_itself_writes_is_read() -> None:
    assert_task(message(), {TASK})
    assert_task(message({"group": "a-group", "group_index": 0}), {TASK})  # so do error callbacks come
    assert_task(message({"origin": "gen1@rechner-müller"}), {TASK})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("task", value) for value in (None, 5, "", ["x"], "nobody.knows")],
        *[("id", value) for value in (None, 5, "", "x" * 513)],
        *[("timelimit", value) for value in ("x", 5, ["x", "x"], [1], [-1, None])],
        *[("expires", value) for value in ("x", 5, [], "9999-12-31T23:59:59")],
        *[("eta", "2026-01-01T00:00:00+00:00"), ("retries", "x"), ("retries", -1), ("retries", True)],
        *[("root_id", {}), ("argsrepr", []), ("origin", 5), ("group", 5), ("id", "\ud800"), ("compression", "gzip")],
        *[("ignore_result", "no"), ("stamps", []), ("stamped_headers", "x"), ("shadow", 5)],
        ("anything", [[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]),
    ],
)
def test_a_header_that_is_missing_or_of_another_type_is_not_read(name: str, value: Any) -> None:
    with pytest.raises(Malformed):
        assert_task(message({name: value}), {TASK})


@pytest.mark.parametrize(
    "body",
    [
        *(7, "x", {}, [], [[], {}], [7, 7, 7], [{}, {}, {}], [[], [], {}], [[], {}, []]),
        *([[], {}, {"chain": 5}], [[], {}, {"chain": [5]}], [[], {}, {"callbacks": [{}]}], [[], {}, {"chord": {}}]),
        *([[], {}, {"errbacks": [{"task": "x", "args": 5}]}], [[], {}, {"chain": [{"task": "x", "options": 5}]}]),
    ],
)
def test_a_body_that_is_not_three_parts_is_not_read(body: Any) -> None:
    with pytest.raises(Malformed):
        assert_task(message(body=body), {TASK})


@pytest.mark.parametrize("other", [{"content_type": None}, {"content_type": "x"}, {"content_encoding": "binary"}])
def test_another_content_is_not_read(other: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        assert_task(message(**other), {TASK})


def envelope() -> dict[str, Any]:
    info = {"exchange": "", "routing_key": "q"}
    properties = {"delivery_tag": "t", "delivery_info": info, "body_encoding": "base64"}
    return {"body": "W10=", "headers": {}, "properties": properties}


def test_what_kombu_itself_writes_is_an_envelope() -> None:
    assert_envelope(json.dumps(envelope()).encode())


@pytest.mark.parametrize(
    "path", [("properties",), ("properties", "delivery_tag"), ("properties", "delivery_info")]
    + [("properties", "delivery_info", name) for name in ("exchange", "routing_key")],
)  # fmt: skip
def test_an_envelope_without_what_kombu_needs_is_none(path: tuple[str, ...]) -> None:
    for junk in (None, 5, []):
        found = copy.deepcopy(envelope())
        within: Any = found
        for name in path[:-1]:
            within = within[name]
        within[path[-1]] = junk
        with pytest.raises(Malformed):
            assert_envelope(json.dumps(found))


@pytest.mark.parametrize(
    "item", [b"", b"42", b"[]", b"null", b"\x00\xff", b"[" * 100_000, b'{"__type__": "datetime", "__value__": 5}']
)
def test_what_is_no_object_is_no_envelope(item: bytes) -> None:
    with pytest.raises(Malformed):
        assert_envelope(item)


def instruction(**other: Any) -> dict[str, Any]:
    back = {"exchange": REPLIES, "routing_key": "x"}
    return {"method": "ping", "arguments": {}, "destination": ["w"], "ticket": "t", "reply_to": back, **other}


def test_an_instruction_is_read() -> None:
    assert_instruction(instruction(pattern=None, matcher=None), {"clock": 5}, REPLIES)


@pytest.mark.parametrize(
    "other",
    [
        *({"method": 5}, {"method": None}, {"arguments": []}, {"destination": 5}, {"more": 5}, {"matcher": "pcre"}),
        *({"reply_to": {}}, {"reply_to": {"exchange": "", "routing_key": "shop.tests.orders"}}, {"ticket": 5}),
    ],
)
def test_an_instruction_that_cannot_be_carried_out_or_answered_is_not_read(other: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        assert_instruction(instruction(**other), {}, REPLIES)


@pytest.mark.parametrize("clock", ["x", -1, 10**400, [], True])
def test_a_clock_that_is_nobodys_is_not_taken_over(clock: Any) -> None:
    with pytest.raises(Malformed):
        assert_instruction(instruction(), {"clock": clock}, REPLIES)
