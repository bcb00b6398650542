"""Bad input of every kind: the right status, the offending place, nothing changed, and nothing to alarm anybody."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from eager_shop import Answer, EagerShop

from celery_config.manifest import SERVICES
from http_api.problems import ProblemError
from http_api.strict_json import DEEPEST, parse_json

GOOD = {
    "POST /users": {"name": "Grace", "email": "grace@shop.example"},
    "PATCH /users/1": {"name": "Grace"},
    "POST /products": {"name": "kettle", "price": 100, "stock": 1, "capacity": 2},
    "PATCH /products/1": {"price": 100},
    "POST /products/1/stock": {"delta": 1},
    "POST /orders": {"user_id": 1, "lines": [{"product_id": 1, "quantity": 1}]},
}
WITH_BODY = sorted(GOOD)


@pytest.fixture(scope="module")
def shop(the_shop: EagerShop) -> EagerShop:
    """One user, one product, one order, for all tests here: nothing that they send may change anything."""
    the_shop.clear()
    user, product = the_shop.add_user("Ada"), the_shop.add_product("teapot", stock=10)
    the_shop.place_order(user, {product: 1})
    return the_shop


@pytest.fixture(autouse=True)
def nothing_changes_and_nobody_is_alarmed(shop: EagerShop, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Every table of every database is as it was."""
    before = shop.everything()
    yield
    assert shop.everything() == before
    errors = [record.getMessage() for record in caplog.get_records("call") if record.levelno >= logging.ERROR]
    assert not errors, errors


def send(shop: EagerShop, call: str, body: Any = None, **given: Any) -> Answer:
    """`call` as in the table above: method and path."""
    method, path = call.split(" ", 1)
    service = path.split("/")[1].partition("?")[0]
    return shop.call(service if service in ("users", "products") else "orders", method, path, body, **given)


def invalid(answer: Answer, *fields: str, where: str = "body") -> None:
    """A 422 that names exactly these places."""
    problem = answer.problem(422, "validation")
    assert {error["field"] for error in problem["errors"]} == set(fields), answer
    assert {error["in"] for error in problem["errors"]} == {where}, answer
    assert all(error["detail"] for error in problem["errors"]), answer


# ---- the body as a whole

MALFORMED = {
    "empty": b"",
    "blank": b"  \n",
    "cut-off": b'{"name": "Gra',
    "trailing-comma": b'{"name": "Grace",}',
    "single-quotes": b"{'name': 'Grace'}",
    "two-values": b"{} {}",
    "comment": b'{"name": "x"} // y',
    "nan": b'{"price": NaN}',
    "infinity": b'{"price": -Infinity}',
    "number-beyond-a-double": b'{"price": 1e999}',
    "same-name-twice": b'{"name": "a", "name": "b"}',
    "not-utf-8": b'{"name": "\xff\xfe"}',
    "utf-16": '{"name": "x"}'.encode("utf-16"),
    "form": b"name=Grace&email=grace%40shop.example",
    "too-deep": b'{"name": ' + b"[" * 5000 + b"]" * 5000 + b"}",
    "bare-control-character": b'{"name": "a\x01b"}',
}


@pytest.mark.parametrize("call", WITH_BODY)
@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED.keys())
def test_what_is_no_json_is_answered_with_400(shop: EagerShop, call: str, body: bytes) -> None:
    send(shop, call, data=body, content_type="application/json").problem(400, "malformed-json")


@pytest.mark.parametrize("call", WITH_BODY)
@pytest.mark.parametrize("body", ["null", "[]", '"text"', "7", "true", "[{}]"])
def test_json_that_is_no_object_is_answered_with_422(shop: EagerShop, call: str, body: str) -> None:
    invalid(send(shop, call, data=body, content_type="application/json"), "")


@pytest.mark.parametrize("call", WITH_BODY)
@pytest.mark.parametrize(
    "content_type", [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/xml"]
)
def test_a_body_that_is_not_declared_as_json_is_answered_with_415(
    shop: EagerShop, call: str, content_type: str | None
) -> None:
    answer = send(shop, call, data=b"{}", content_type=content_type)
    answer.problem(415, "unsupported-media-type")
    assert answer.headers["Accept"] == "application/json"


def test_a_compressed_body_is_answered_with_415(shop: EagerShop) -> None:
    headers = {"Content-Encoding": "gzip"}
    send(shop, "POST /users", GOOD["POST /users"], headers=headers).problem(415, "unsupported-media-type")


@pytest.mark.parametrize("call", WITH_BODY)
def test_an_oversized_body_is_answered_with_413(shop: EagerShop, call: str) -> None:
    body = b'{"name": "' + b"x" * (1024 * 1024) + b'"}'
    send(shop, call, data=body, content_type="application/json").problem(413, "body-too-large")


@pytest.mark.parametrize("call", WITH_BODY)
def test_a_field_that_nobody_knows_is_refused_and_not_ignored(shop: EagerShop, call: str) -> None:
    invalid(send(shop, call, {**GOOD[call], "id": 7, "nmae": 1}), "id", "nmae")


def test_fields_that_only_the_service_may_write_cannot_be_sent(shop: EagerShop) -> None:
    invalid(send(shop, "PATCH /users/1", {"status": "removing", "removed_by": None}), "status", "removed_by")
    invalid(send(shop, "PATCH /products/1", {"stock": 7}), "stock")


@pytest.mark.parametrize(
    ("call", "field"),
    [
        ("POST /users", "name"),
        ("POST /users", "email"),
        ("POST /products", "name"),
        ("POST /products", "price"),
        ("POST /products", "stock"),
        ("POST /products/1/stock", "delta"),
        ("POST /orders", "user_id"),
        ("POST /orders", "lines"),
    ],
)
def test_a_missing_field_is_named(shop: EagerShop, call: str, field: str) -> None:
    invalid(send(shop, call, {name: value for name, value in GOOD[call].items() if name != field}), field)


def test_every_missing_field_is_named_at_once(shop: EagerShop) -> None:
    invalid(send(shop, "POST /products", {}), "name", "price", "stock")


# ---- integers

INTEGERS = [
    ("POST /products", "price", 0),
    ("POST /products", "stock", 0),
    ("POST /products", "capacity", 0),
    ("PATCH /products/1", "price", 0),
    ("PATCH /products/1", "capacity", 0),
    ("POST /products/1/stock", "delta", -(2**31 - 1)),
    ("POST /orders", "user_id", 1),
    ("POST /orders", "lines.0.product_id", 1),
    ("POST /orders", "lines.0.quantity", 1),
]
each_integer = pytest.mark.parametrize(("call", "field", "least"), INTEGERS, ids=lambda value: str(value))


def with_value(call: str, field: str, value: Any) -> dict[str, Any]:
    """The good body with one value replaced; `field` may be inside the first line of an order."""
    if field.startswith("lines.0."):
        line = {**GOOD[call]["lines"][0], field.removeprefix("lines.0."): value}
        return {**GOOD[call], "lines": [line]}
    return {**GOOD[call], field: value}


@each_integer
@pytest.mark.parametrize(
    "value",
    ["7", "", 7.0, 7.5, True, False, [7], {"7": 7}, "seven", "0x7", 1e3],
    ids=lambda value: f"{type(value).__name__}-{value}",
)
def test_only_an_integer_is_an_integer(shop: EagerShop, call: str, field: str, least: int, value: object) -> None:
    invalid(send(shop, call, with_value(call, field, value)), field)


@each_integer
def test_an_integer_has_its_bounds(shop: EagerShop, call: str, field: str, least: int) -> None:
    for value in (least - 1, -(2**31), 2**31, 2**63, -(2**63) - 1, 10**30):
        invalid(send(shop, call, with_value(call, field, value)), field)


@each_integer
def test_an_integer_of_ten_thousand_digits_is_as_wrong_as_any_other(
    shop: EagerShop, call: str, field: str, least: int
) -> None:
    body = str(with_value(call, field, "HUGE")).replace("'", '"').replace('"HUGE"', "9" * 10_000)
    body = body.replace("None", "null")
    invalid(send(shop, call, data=body, content_type="application/json"), field)


@pytest.mark.parametrize(
    ("call", "field"), [(call, field) for call, field, _ in INTEGERS if field != "capacity"], ids=str
)
def test_null_is_no_integer(shop: EagerShop, call: str, field: str) -> None:
    invalid(send(shop, call, with_value(call, field, None)), field)


# ---- texts

TEXTS = [("POST /users", "name"), ("PATCH /users/1", "name"), ("POST /products", "name"), ("PATCH /products/1", "name")]
BAD_TEXTS = {
    "empty": "",
    "blank": "   ",
    "line-break": "\n",
    "blank-in-front": " Grace",
    "blank-behind": "Grace ",
    "no-break-space-behind": "Grace\u00a0",
    "nul": "Gra\x00ce",
    "escape": "Gra\x1bce",
    "line-break-inside": "Gra\nce",
    "delete": "Gra\x7fce",
    "line-separator": "Gra\u2028ce",
    "half-a-surrogate-pair": "Gra\ud800ce",
    "nothing-visible": "\u200b\u200d",
    "too-long": "x" * 201,
    "a-megabyte": "x" * 1_000_000,
    "integer": 7,
    "boolean": True,
    "null": None,
    "list": ["Grace"],
    "object": {"first": "Grace"},
}


@pytest.mark.parametrize(("call", "field"), TEXTS)
@pytest.mark.parametrize("value", BAD_TEXTS.values(), ids=BAD_TEXTS.keys())
def test_a_text_has_something_to_say_and_only_that(shop: EagerShop, call: str, field: str, value: object) -> None:
    answer = send(shop, call, {**GOOD[call], field: value})
    invalid(answer, field)
    assert len(answer.response.data) < 2000, "what was wrong is not sent back whole"


BAD_ADDRESSES = [
    "grace",
    "grace@",
    "@shop.example",
    "grace shop@shop.example",
    "grace@shop@example",
    "grace@shop..example",
    "grace@shop.example\n",
    "grace\x00@shop.example",
    f"{'x' * 255}@shop.example",
    "",
    " ",
    7,
    None,
    [],
]


@pytest.mark.parametrize("call", ["POST /users", "PATCH /users/1"])
@pytest.mark.parametrize("value", BAD_ADDRESSES, ids=lambda value: repr(value)[:20])
def test_an_e_mail_address_has_its_shape(shop: EagerShop, call: str, value: object) -> None:
    invalid(send(shop, call, {**GOOD[call], "email": value}), "email")


def test_the_name_of_a_field_can_be_as_bad_as_its_value(shop: EagerShop) -> None:
    for name in ("\x00", "a\ud800b", "x" * 100_000, "", "a.b/c~d"):
        send(shop, "POST /users", {**GOOD["POST /users"], name: 1}).problem(422, "validation")


# ---- the lines of an order


@pytest.mark.parametrize(
    ("lines", "fields"),
    [
        ([], ["lines"]),
        (None, ["lines"]),
        ({}, ["lines"]),
        ("x", ["lines"]),
        ([None], ["lines.0"]),
        ([7], ["lines.0"]),
        ([[]], ["lines.0"]),
        ([{}], ["lines.0.product_id", "lines.0.quantity"]),
        ([{"product_id": 1}], ["lines.0.quantity"]),
        ([{"product_id": 1, "quantity": 1}, {"quantity": 1}], ["lines.1.product_id"]),
        ([{"product_id": 1, "quantity": 1, "price": 1}], ["lines.0.price"]),
        ([{"product_id": 1, "quantity": 0}], ["lines.0.quantity"]),
        ([{"product_id": 1, "quantity": -1}], ["lines.0.quantity"]),
        ([{"product_id": 0, "quantity": 1}], ["lines.0.product_id"]),
        ([{"product_id": 1, "quantity": 1_000_001}], ["lines.0.quantity"]),
        ([{"product_id": 1, "quantity": 1}, {"product_id": 1, "quantity": 2}], ["lines.1.product_id"]),
        ([{"product_id": id, "quantity": 1} for id in range(1, 102)], ["lines"]),
    ],
    ids=lambda value: str(value)[:60],
)
def test_the_lines_of_an_order_are_checked_one_by_one(shop: EagerShop, lines: object, fields: list[str]) -> None:
    invalid(send(shop, "POST /orders", {"user_id": 1, "lines": lines}), *fields)


def test_every_wrong_place_is_told_at_once_each_with_its_pointer(shop: EagerShop) -> None:
    lines = [{"product_id": "1", "quantity": 1}, {"product_id": 2, "quantity": 0, "note": ""}]
    answer = send(shop, "POST /orders", {"user_id": True, "lines": lines})
    problem = answer.problem(422, "validation")
    assert {error["pointer"] for error in problem["errors"]} == {
        "#/user_id",
        "#/lines/0/product_id",
        "#/lines/1/quantity",
        "#/lines/1/note",
    }, answer


@pytest.mark.parametrize("inside", ["", "1"])
def test_a_body_may_be_as_deep_as_the_document_says_and_no_deeper(inside: str) -> None:
    deepest = "[" * DEEPEST + inside + "]" * DEEPEST
    parse_json(deepest.encode())
    with pytest.raises(ProblemError, match="deeper than"):
        parse_json(f"[{deepest}]".encode())


# ---- paths, methods, queries


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize(
    "id", ["0x1", "1.0", "-1", "+1", "01", "one", "1%00", "%20", "1;2", "١", "9" * 19, "9" * 40, "1'--", "null"]
)
def test_a_path_that_names_nothing_is_answered_with_404(shop: EagerShop, service: str, id: str) -> None:
    shop.call(service, "GET", f"/{service}/{id}").problem(404, "not-found")


@pytest.mark.parametrize("id", [2**31, 2**59, 10**18 - 1, 10**18, 2**63 - 1, 2**63])
def test_an_id_beyond_what_the_database_counts_to_is_just_not_there(shop: EagerShop, id: int) -> None:
    for call in (
        f"GET /users/{id}",
        f"DELETE /users/{id}",
        f"GET /products/{id}",
        f"GET /orders/{id}",
        f"POST /orders/{id}/cancel",
        f"POST /orders/{id}/fulfil",
    ):
        send(shop, call).problem(404, "not-found")
    send(shop, f"PATCH /users/{id}", {"name": "Grace"}).problem(404, "not-found")
    send(shop, f"POST /products/{id}/stock", {"delta": 1}).problem(404, "not-found")


@pytest.mark.parametrize(
    "id", ["1", "x", "00000000-0000-4000-8000-00000000000", "{00000000-0000-4000-8000-000000000000}", "%00"]
)
@pytest.mark.parametrize("service", SERVICES)
def test_a_transaction_has_a_uuid(shop: EagerShop, service: str, id: str) -> None:
    shop.call(service, "GET", f"/transactions/{id}").problem(404, "not-found")


@pytest.mark.parametrize(
    ("call", "allowed"),
    [
        ("PUT /users", {"GET", "POST"}),
        ("DELETE /users", {"GET", "POST"}),
        ("PUT /users/1", {"GET", "PATCH", "DELETE"}),
        ("POST /users/1", {"GET", "PATCH", "DELETE"}),
        ("DELETE /products/1", {"GET", "PATCH"}),
        ("GET /products/1/stock", {"POST"}),
        ("PATCH /orders/1", {"GET"}),
        ("DELETE /orders/1", {"GET"}),
        ("GET /orders/1/cancel", {"POST"}),
        ("PUT /orders/1/fulfil", {"POST"}),
        ("POST /transactions", {"GET"}),
        ("POST /livez", {"GET"}),
    ],
)
def test_a_wrong_method_is_answered_with_405_and_the_right_ones(shop: EagerShop, call: str, allowed: set[str]) -> None:
    answer = send(shop, call)
    answer.problem(405, "method-not-allowed")
    told = {method.strip() for method in answer.headers["Allow"].split(",")} - {"HEAD", "OPTIONS"}
    assert told == allowed


@pytest.mark.parametrize("path", ["/users", "/products", "/orders", "/transactions"])
@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=-1", "limit"),
        ("limit=501", "limit"),
        ("limit=ten", "limit"),
        ("limit=1.0", "limit"),
        ("limit=", "limit"),
        ("limit=%201", "limit"),
        ("limit=" + "9" * 50, "limit"),
        ("limit=1&limit=2", "limit"),
        ("after=", "after"),
        ("after=x", "after"),
        ("after=%00", "after"),
        ("after=WzFd%0A", "after"),
        ("after=e30", "after"),
        ("after=bnVsbA", "after"),
        ("after=WyJ4Il0", "after"),
        ("after=WzEsMl0", "after"),
        ("after=W3RydWVd", "after"),
        ("after=" + "A" * 600, "after"),
        ("page=2", "page"),
        ("Limit=2", "Limit"),
    ],
    ids=lambda value: value[:24],
)
def test_a_bad_query_is_answered_with_422_and_not_ignored(shop: EagerShop, path: str, query: str, field: str) -> None:
    invalid(send(shop, f"GET {path}?{query}"), field, where="query")


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/orders?status=shut", "status"),
        ("/orders?status=", "status"),
        ("/orders?status=OPEN", "status"),
        ("/orders?status=open&status=open", "status"),
        ("/orders?user_id=x", "user_id"),
        ("/orders?user_id=0", "user_id"),
        ("/orders?user_id=2147483648", "user_id"),
        ("/orders?user_id=1%00", "user_id"),
        ("/orders?user=1", "user"),
        ("/transactions?state=done", "state"),
        ("/transactions?state=", "state"),
        ("/transactions?status=committed", "status"),
        ("/users?status=active", "status"),
    ],
)
def test_a_filter_that_means_nothing_is_refused(shop: EagerShop, path: str, field: str) -> None:
    invalid(send(shop, f"GET {path}"), field, where="query")


def test_a_path_with_no_meaning_is_answered_with_404(shop: EagerShop) -> None:
    for path in ("/user", "/users/1/orders", "/users//1", "/USERS", "/products/1/stock/2", "/orders/1/refund"):
        send(shop, f"GET {path}").problem(404, "not-found")


# ---- headers

DISTRIBUTED = {
    "POST /orders": GOOD["POST /orders"],
    "POST /orders/1/cancel": None,
    "DELETE /users/1": None,
}
each_distributed = pytest.mark.parametrize("call", DISTRIBUTED)


def bad_header(shop: EagerShop, call: str, name: str, value: str) -> None:
    answer = send(shop, call, DISTRIBUTED[call], headers={name: value})
    problem = answer.problem(400, "invalid-header")
    assert [(error["in"], error["field"]) for error in problem["errors"]] == [("header", name)], answer


@each_distributed
@pytest.mark.parametrize(
    "value",
    ["wait=abc", "wait=-1", "wait=1.5", "wait=", "wait", 'wait="', "wait=5 s", "=5", "wait=1 2", "wait==1", "wait=١"],
)
def test_a_preference_that_cannot_be_read_is_answered_with_400(shop: EagerShop, call: str, value: str) -> None:
    bad_header(shop, call, "Prefer", value.encode().decode("latin-1"))


@each_distributed
@pytest.mark.parametrize(
    "value",
    [
        "",
        " ",
        '""',
        "x" * 256,
        f'"{"x" * 256}"',
        "a b",
        "a,b",
        "a;b",
        '"open',
        "tab\there",
        "\x7f",
        "\x00x",
        "ключ",
        "é",
    ],
    ids=lambda value: repr(value)[:20],
)
def test_an_idempotency_key_that_cannot_be_read_is_answered_with_400(shop: EagerShop, call: str, value: str) -> None:
    bad_header(shop, call, "Idempotency-Key", value.encode().decode("latin-1"))


@each_distributed
def test_an_idempotency_key_is_sent_once(shop: EagerShop, call: str) -> None:
    method, path = call.split(" ")
    client = shop.apps[path.split("/")[1]].test_client()
    headers = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    answer = Answer(call, client.open(path, method=method, json=DISTRIBUTED[call], headers=headers))
    answer.problem(400, "invalid-header")


# ---- what the database would have to say


@pytest.mark.parametrize("quantity", [10, 11, 1_000_000])
def test_quantities_over_the_stock_are_refused_by_the_rule_and_not_by_the_database(
    shop: EagerShop, quantity: int
) -> None:
    before = shop.rows()
    answer = shop.ask_to_place_order(1, {1: quantity}, Prefer="wait=5")
    assert answer.problem(409, "refused")["reason"] == "insufficient_stock"
    assert shop.rows() == before
    # A refused order is a transaction that has been; it is all that there is to see of it.
    for service in ("orders", "users", "products"):
        shop.query(service, "DELETE FROM transaction_branches WHERE outcome = 'rollback'")
        shop.query(service, "DELETE FROM transactions WHERE state = 'aborted'")
        shop.query(service, "DELETE FROM branch_rows WHERE kind = 'tombstone'")
