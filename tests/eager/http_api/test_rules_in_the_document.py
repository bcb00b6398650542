"""What the OpenAPI document says of a request is what the service holds it to: tried at every bound, on both sides.

The document is read first and requests are made from it; then the other way round, every rule that the code has is
looked for in the document.
"""

from __future__ import annotations

import copy
import itertools
import re
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import marshmallow as ma
import pytest
from eager_shop import EagerShop
from marshmallow import fields, validate

from celery_config.manifest import SERVICES
from http_api import schemas
from http_api.idempotency import LONGEST_KEY
from http_api.schemas import StrictSchema, Text

each_service = pytest.mark.parametrize("service", SERVICES)

#: One value of a thing, what is special about it, and whether the document allows it.
Case = tuple[Any, str, bool]

#: Texts that a pattern is tried with; whether it allows them it says itself.
TEXTS = ("a", "a b", " a", "a ", "a\tb", "a\nb", "a\x00b", "a\x7fb", "a\x85b", "a\u2028b", "\u3000a", "a\u00a0", "ü✓")
#: And one that only the words in the document forbid: nothing to see in it.
INVISIBLE = "\u200b"

_numbers = itertools.count(1)


class Document:
    """A service's OpenAPI document."""

    def __init__(self, shop: EagerShop, service: str) -> None:
        self._document: dict[str, Any] = shop.get(service, "/openapi.json")

    def operations(self) -> Iterator[tuple[str, str, dict[str, Any]]]:
        """(METHOD, path, operation)"""
        for path, operations in self._document["paths"].items():
            for method, operation in operations.items():
                if method != "parameters":
                    yield method.upper(), path, operation

    def resolved(self, thing: dict[str, Any]) -> dict[str, Any]:
        """What it refers to, or it itself."""
        while "$ref" in thing:
            found: Any = self._document
            for step in thing["$ref"].removeprefix("#/").split("/"):
                found = found[step]
            thing = found
        return thing

    def schema(self, name: str) -> dict[str, Any]:
        return dict(self._document["components"]["schemas"][name])

    # ---- values made from a schema

    def good(self, schema: dict[str, Any]) -> Any:
        """A value that the schema allows; another one each time, where that can be."""
        schema = self.resolved(schema)
        if "enum" in schema:
            return schema["enum"][0]
        if schema["type"] == "object":
            return {name: self.good(member) for name, member in schema["properties"].items()}
        if schema["type"] == "array":
            return [self.good(schema["items"])]
        if schema["type"] == "integer":
            return max(schema.get("minimum", 0), 1)
        return f"a{next(_numbers)}@shop.example" if schema.get("format") == "email" else "a"

    def cases(self, schema: dict[str, Any]) -> Iterator[Case]:
        """Values at the bounds of the schema and right behind them."""
        schema = self.resolved(schema)
        yield self.good(schema), "good", True
        yield None, "null", schema.get("nullable", False)
        yield from getattr(self, f"_{schema['type']}")(schema)

    def _integer(self, schema: dict[str, Any]) -> Iterator[Case]:
        yield schema["minimum"], "the least", True
        yield schema["minimum"] - 1, "less than the least", False
        yield schema["maximum"], "the most", True
        yield schema["maximum"] + 1, "more than the most", False
        for value in ("7", 7.5, 7.0, True, [], {}):
            yield value, f"{value!r} for an integer", False

    def _string(self, schema: dict[str, Any]) -> Iterator[Case]:
        least, most = schema["minLength"], schema["maxLength"]
        end = "@shop.example" if schema.get("format") == "email" else ""
        if not end:
            yield "a" * most, "the longest", True
            for text in TEXTS:
                yield text, repr(text), bool(re.fullmatch(schema["pattern"], text))
            yield INVISIBLE, "nothing visible", False
        yield "a" * (most + 1 - len(end)) + end, "too long", False
        yield "a" * (least - 1), "too short", False
        for value in (7, True, [], {}, *(["a", "a@", "@a.example"] if end else [])):
            yield value, f"{value!r} for a text", False

    def _array(self, schema: dict[str, Any]) -> Iterator[Case]:
        item = self.resolved(schema["items"])
        (key, *_), base = item["properties"], self.good(item)
        many = [{**base, key: base[key] + number} for number in range(schema["maxItems"] + 1)]
        yield many[: schema["minItems"]], "the fewest", True
        yield many[: schema["minItems"] - 1], "too few", False
        yield many[:-1], "the most", True
        yield many, "too many", False
        yield [base, copy.deepcopy(base)], "the same twice", not schema.get("uniqueItems", False)
        yield {}, "an object for an array", False
        for value, what, allowed in self._object(item):
            yield [value], f"an item: {what}", allowed

    def _object(self, schema: dict[str, Any]) -> Iterator[Case]:
        base = self.good(schema)
        yield {**base, "unknown": 1}, "unknown member", schema.get("additionalProperties", True)
        yield [], "an array for an object", False
        for name, member in schema["properties"].items():
            yield {k: v for k, v in base.items() if k != name}, f"no {name}", name not in schema.get("required", ())
            for value, what, allowed in self.cases(member):
                yield {**self.good(schema), name: value}, f"{name}: {what}", allowed


# ---- from the document to the code


@pytest.mark.leaves("unbalanced")  # goods of 2**31 - 1 pieces, and so on
@each_service
def test_a_body_is_held_to_what_the_document_says(shop: EagerShop, service: str, user: int, order: int) -> None:
    document, tried, wrong = Document(shop, service), 0, []
    for method, path, operation in document.operations():
        if "requestBody" not in operation:
            continue
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        assert operation["requestBody"]["required"], (method, path)
        for body, what, allowed in document.cases(schema):
            answer = shop.call(service, method, re.sub(r"{\w+}", "1", path), body, **_null(body))
            refused = answer.status == 422
            tried += 1
            if refused == allowed:
                wrong.append(
                    f"{method} {path}, {what}: {answer.status}, said to be {'allowed' if allowed else 'wrong'}"
                )
    assert not wrong, "\n".join(wrong)
    assert tried > 20


def _null(body: Any) -> dict[str, Any]:
    """JSON's null, which is a body and not the lack of one."""
    return {"data": "null", "content_type": "application/json"} if body is None else {}


@each_service
def test_a_query_is_held_to_what_the_document_says(shop: EagerShop, service: str) -> None:
    document, tried, wrong = Document(shop, service), 0, []
    for method, path, operation in document.operations():
        given = [document.resolved(parameter) for parameter in operation.get("parameters", ())]
        for parameter in (parameter for parameter in given if parameter["in"] == "query"):
            for value, what, allowed in _query_cases(parameter["schema"]):
                answer = shop.call(service, method, path, query_string={parameter["name"]: value})
                tried += 1
                if (answer.status == 422) == allowed:
                    wrong.append(f"{method} {path}, {parameter['name']}, {what}: {answer.status}")
        if any(parameter["in"] == "query" for parameter in given):
            shop.call(service, method, path, query_string={"unknown": "1"}).problem(422, "validation")
    assert not wrong, "\n".join(wrong)
    assert tried > 10


def _query_cases(schema: dict[str, Any]) -> Iterator[Case]:
    if "enum" in schema:
        yield from ((value, value, True) for value in schema["enum"])
        yield "another", "none of them", False
    elif schema["type"] == "integer":
        yield from ((schema["minimum"], "the least", True), (schema["maximum"], "the most", True))
        yield from ((schema["minimum"] - 1, "too little", False), (schema["maximum"] + 1, "too much", False))
        yield "7.0", "no integer", False
    else:
        yield "a" * (schema["maxLength"] + 1), "too long", False


@each_service
def test_headers_are_named_where_they_count(shop: EagerShop, service: str) -> None:
    document = Document(shop, service)
    for method, path, operation in document.operations():
        given = [document.resolved(parameter) for parameter in operation.get("parameters", ())]
        named = {parameter["name"] for parameter in given if parameter["in"] == "header"}
        expected = {"Idempotency-Key"} if method != "GET" else set()
        expected |= {"Prefer"} if "202" in operation["responses"] else set()
        assert named == expected, (method, path)
        if method == "GET":
            continue
        target = re.sub(r"{\w+}", "1", path)
        body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
        made = document.good(body) if body else None
        for header, value in (("Idempotency-Key", "k" * (LONGEST_KEY + 1)), ("Prefer", "wait=soon")):
            if header in named:
                answer = shop.call(service, method, target, made, headers={header: value})
                answer.problem(400, "invalid-header")
        assert {"400", "422", "503", "504"} <= operation["responses"].keys(), (method, path)
        assert ({"413", "415"} <= operation["responses"].keys()) == bool(body), (method, path)


# ---- from the code to the document

#: Rules that a schema has as a whole → where the document tells them.
WHOLE = {("NewOrderSchema", "each_product_once"): ("NewOrder", "lines", "uniqueItems")}


def _request_schemas() -> dict[str, type[StrictSchema]]:
    """Those of bodies, by their names in the document."""
    for service in SERVICES:
        import_module(f"{service}_service.schemas")
    found, waiting = {}, list(StrictSchema.__subclasses__())
    while waiting:
        one = waiting.pop()
        waiting += one.__subclasses__()
        if one.__module__.endswith("_service.schemas") and not issubclass(one, schemas.PageArgs):
            found[one.__name__.removesuffix("Schema")] = one
    return found


@pytest.mark.parametrize("name", sorted(_request_schemas()))
def test_every_rule_of_a_body_is_in_the_document(shop: EagerShop, name: str) -> None:
    schema = _request_schemas()[name]
    service = schema.__module__.partition("_service")[0]
    document = Document(shop, service)
    told = document.schema(name)
    assert told["additionalProperties"] is False
    for member, field in schema().fields.items():
        _assert_told(field, told["properties"][member], f"{name}.{member}")
    for tag, hooks in schema._hooks.items():
        for hook, *_ in hooks:
            assert tag == "validates_schema", f"{name}.{hook} is a rule of a sort that this test does not know"
            of, member, word = WHOLE[schema.__name__, hook]
            assert document.schema(of)["properties"][member][word]
            assert document.schema(of)["properties"][member]["description"]


def _assert_told(field: fields.Field[Any], told: dict[str, Any], where: str) -> None:
    for rule in field.validators:
        if isinstance(rule, validate.Range):
            assert (told["minimum"], told["maximum"]) == (rule.min, rule.max), where
        elif isinstance(rule, validate.Length):
            words = ("minItems", "maxItems") if isinstance(field, fields.List) else ("minLength", "maxLength")
            assert tuple(told[word] for word in words) == (rule.min, rule.max), where
        elif isinstance(rule, validate.Email):
            assert told["format"] == "email", where
        else:
            pytest.fail(f"{where}: the document tells nothing of {rule!r}")
    assert told.get("nullable", False) == field.allow_none, where
    if isinstance(field, Text):
        assert told["pattern"] == schemas.ONE_LINE, where
        assert told["description"], where


def test_the_pattern_of_a_text_is_what_the_code_checks() -> None:
    """For every character: alone, at either end, and within."""
    field, pattern = Text(), re.compile(schemas.ONE_LINE)
    for number in (*range(0xD800), *range(0xE000, 0x10000), *range(0x10000, 0x110000, 997)):
        character = chr(number)
        for text in (f"{character}a", f"a{character}", f"a{character}a"):
            allowed = bool(pattern.fullmatch(text))
            try:
                field.deserialize(text)
            except ma.ValidationError:
                assert not allowed, f"U+{number:04X} in {text!r} is allowed by the document alone"
            else:
                assert allowed, f"U+{number:04X} in {text!r} is allowed by the code alone"
