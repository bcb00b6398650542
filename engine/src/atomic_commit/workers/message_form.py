"""The form of what workers read: of a task's message, of kombu's envelope around it on Redis, of an instruction.

Celery and kombu take a message apart as they go. What is missing, or of another type, raises wherever it is needed:
some of it in the worker's loop, which then ends or starts again, and on RabbitMQ meets the same message again. So the
whole form is looked at first. It is the form that Celery's own publishers write (protocol 2), as far as this shop uses
it; a field that nothing here reads may be anything.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from typing import Any

from kombu.utils.json import loads

#: A logical clock beyond it is nobody's; AMQP can't even write one of more than 63 bits.
_CLOCKS = 2**53
#: Characters of a task's id, of which the longest of ours (a gid, with a verb) has some 230.
_ID_LIMIT = 512
#: Levels of what a message carries beside its body.
_DEPTH = 20


class Malformed(Exception):
    """What was read is not of the form. ``reason``: one of a few; the text says more."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


# ---- kombu's envelope, on Redis


def assert_envelope(item: bytes | str) -> None:
    """Raise Malformed for an element of a queue's list, or a broadcast, of which kombu could not make a message."""
    try:
        found = loads(item.decode() if isinstance(item, bytes) else item)
    except Exception as error:  # kombu knows values of further types, each of which raises its own kinds
        raise Malformed("envelope", f"no JSON: {_short(error)}") from None
    _wanted("envelope", isinstance(found, dict), "no JSON object")
    properties = found.get("properties")
    _wanted("envelope", isinstance(properties, dict), "no properties")
    _wanted("envelope", _is_text(properties.get("delivery_tag")), "no delivery_tag")
    where = properties.get("delivery_info")
    _wanted("envelope", isinstance(where, dict), "no delivery_info")
    for name in ("exchange", "routing_key"):
        _wanted("envelope", isinstance(where.get(name), str), f"delivery_info: no {name}")
    _wanted("envelope", isinstance(found.get("headers"), dict | None), "headers are no object")
    _assert_shallow([found.get("headers"), properties])
    _wanted("envelope", isinstance(found.get("body"), str | None), "the body is no text")
    _assert_encoded(found.get("body"), properties.get("body_encoding"))


def _assert_encoded(body: str | None, encoding: Any) -> None:
    _wanted("envelope", encoding in (None, "base64", "utf-8"), f"body_encoding {_short(encoding)}")
    try:
        if body and encoding == "base64":
            base64.b64decode(body.encode())
        elif body:
            body.encode()
    except (ValueError, binascii.Error) as error:
        raise Malformed("envelope", f"the body is not {encoding or 'utf-8'}: {_short(error)}") from None


# ---- a task


def assert_task(message: Any, known: Collection[str]) -> None:
    """Raise Malformed for a message that is not one of a task in `known`."""
    headers = message.headers
    _wanted("headers", isinstance(headers, Mapping), "no headers")
    _assert_shallow(headers)
    for name, (is_right, what) in _HEADERS.items():
        _wanted("headers", is_right(headers.get(name)), f"{name} is not {what}: {_short(headers.get(name))}")
    _assert_properties(message)
    _assert_body(message)
    _wanted("unknown task", headers["task"] in known, f"no task {_short(headers['task'])}")


def _assert_properties(message: Any) -> None:
    _wanted("content", message.content_type == "application/json", f"content type {_short(message.content_type)}")
    encoding = message.content_encoding
    _wanted("content", isinstance(encoding, str) and encoding.lower() == "utf-8", f"encoding {_short(encoding)}")
    for name in ("correlation_id", "reply_to"):
        _wanted("properties", _may_be_text(message.properties.get(name)), f"{name} is no text")


def _assert_body(message: Any) -> None:
    try:
        body = message.decode()
    except Exception as error:  # the decoders raise their own kinds
        raise Malformed("body", _short(error)) from None
    _wanted("body", isinstance(body, list) and len(body) == 3, "not [args, kwargs, embed]")
    args, kwargs, embed = body
    _wanted("body", isinstance(args, list), "args is no list")
    _wanted("body", isinstance(kwargs, dict), "kwargs is no object")
    _wanted("body", isinstance(embed, dict | None), "embed is no object")
    _assert_embedded(embed or {})


def _assert_embedded(embed: dict[str, Any]) -> None:
    """The tasks that this one starts."""
    _wanted("body", embed.get("chord") is None, "a chord")
    for name in ("callbacks", "errbacks", "chain"):
        among = embed.get(name)
        _wanted("body", isinstance(among, list | None), f"{name} is no list")
        for signature in among or ():
            _assert_signature(signature, name)


def _assert_signature(signature: Any, name: str) -> None:
    _wanted("body", isinstance(signature, dict), f"{name}: no signature")
    _wanted("body", _is_text(signature.get("task")), f"{name}: no task")
    for field, form in (("args", list), ("kwargs", dict), ("options", dict)):
        _wanted("body", isinstance(signature.get(field), form | None), f"{name}: {field}")
    _wanted("body", _may_be_text(signature.get("subtask_type")), f"{name}: subtask_type")


# ---- an instruction of remote control


def assert_instruction(body: Any, headers: Mapping[str, Any], reply_exchange: str) -> None:
    """Raise Malformed for what kombu's mailbox could not carry out or answer."""
    _wanted("instruction", isinstance(body, dict), "no object")
    _wanted("instruction", body.keys() <= _INSTRUCTION.keys(), "unknown fields")
    for name, is_right in _INSTRUCTION.items():
        _wanted("instruction", is_right(body.get(name)), f"{name}: {_short(body.get(name))}")
    # Regular expressions of others can take a worker's loop for as long as they like.
    _wanted("instruction", body.get("matcher") in (None, "glob"), f"matcher {_short(body.get('matcher'))}")
    clock = headers.get("clock")
    _wanted("instruction", clock is None or (_is_whole(clock) and 0 <= clock < _CLOCKS), f"clock {_short(clock)}")
    back = body.get("reply_to")
    if back is not None:
        right = isinstance(back, dict) and back.keys() == {"exchange", "routing_key"}
        _wanted("instruction", right and isinstance(back["routing_key"], str), "reply_to")
        _wanted("instruction", back["exchange"] == reply_exchange, "reply_to is not where replies go")


# ---- forms of single values


def _assert_shallow(value: Any, depth: int = _DEPTH) -> None:
    """What is nested too deep can be read, and then not be written again."""
    _wanted("headers", depth > 0, "nested too deep")
    if isinstance(value, Mapping | list | tuple):
        for one in value.values() if isinstance(value, Mapping) else value:
            _assert_shallow(one, depth - 1)


def _wanted(reason: str, right: bool, detail: str) -> None:
    if not right:
        raise Malformed(reason, detail)


def _short(value: object) -> str:
    """What `value` is, at no great length. (What is nested too deep has no repr.)"""
    try:
        return repr(value)[:200]
    except RecursionError:
        return f"a {type(value).__name__}, nested too deep"


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _ID_LIMIT and _may_be_text(value)


def _may_be_text(value: Any) -> bool:
    """JSON can spell halves of characters, which no key and no line of a log can take."""
    if not isinstance(value, str):
        return value is None
    return value.isascii() or not any("\ud800" <= one <= "\udfff" for one in value)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_moment(value: Any) -> bool:
    if value is None:
        return True
    if not isinstance(value, str):
        return False
    try:
        # what is then made aware, and compared with now, has to have room to be moved by a day
        return 1970 <= datetime.fromisoformat(value).year < 9999
    except ValueError:
        return False


def _is_limits(value: Any) -> bool:
    return value is None or (
        isinstance(value, list | tuple)
        and len(value) == 2
        and all(limit is None or (isinstance(limit, int | float) and limit > 0) for limit in value)
    )


def _is_texts(value: Any) -> bool:
    return value is None or (isinstance(value, list | tuple) and all(isinstance(one, str) for one in value))


_TEXT = (_is_text, "a text")
_MAY_BE_TEXT = (_may_be_text, "a text or nothing")
_NOTHING = (lambda value: value is None, "left out")
_COUNT = (lambda value: value is None or (_is_whole(value) and 0 <= value < 2**31), "a count")

#: Header of a task's message → its form. Nobody here sends a task for later, or compressed.
#: (Error callbacks come as a group.)
_HEADERS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "task": _TEXT,
    "id": _TEXT,
    **dict.fromkeys(
        ("root_id", "parent_id", "group", "lang", "origin", "shadow", "argsrepr", "kwargsrepr"), _MAY_BE_TEXT
    ),
    **dict.fromkeys(("eta", "compression"), _NOTHING),
    **dict.fromkeys(("retries", "group_index", "replaced_task_nesting"), _COUNT),
    "expires": (_is_moment, "a moment"),
    "timelimit": (_is_limits, "two limits"),
    "ignore_result": (lambda value: isinstance(value, bool | None), "true or false"),
    "stamped_headers": (_is_texts, "a list of texts"),
    "stamps": (lambda value: isinstance(value, dict | None), "an object"),
}

_INSTRUCTION: dict[str, Callable[[Any], bool]] = {
    "method": _is_text,
    "arguments": lambda value: isinstance(value, dict | None),
    "destination": lambda value: isinstance(value, str) or _is_texts(value),
    "pattern": _may_be_text,
    "matcher": _may_be_text,
    "ticket": _may_be_text,
    "reply_to": lambda value: isinstance(value, dict | None),
}
