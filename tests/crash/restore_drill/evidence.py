"""What a person gets to see of what went wrong: rows of every side, then and now, and what Redis held at the crash."""

from __future__ import annotations

import base64
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from redis import Redis

from celery_config.manifest import SERVICES
from embedded.shop import Shop

from .states import State

_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True)
class Remembered:
    """What Redis holds: results, key → text; messages, as (queue, text). Both may be newer than the databases."""

    results: dict[str, str] = field(default_factory=dict)
    messages: list[tuple[str, str]] = field(default_factory=list)

    def about(self, transaction: str) -> list[str]:
        """Lines that tell what there is of this transaction."""
        results = (f"result {key}: {text}" for key, text in sorted(self.results.items()) if transaction in key + text)
        messages = (f"message in {queue}: {text}" for queue, text in self.messages if transaction in text)
        return [*results, *messages]


def read_redis(broker_url: str, result_backend_url: str) -> Remembered:
    """All of it. Nothing is taken out."""
    with Redis.from_url(result_backend_url) as redis:
        keys = [key for key in redis.scan_iter(count=1000) if redis.type(key) == b"string"]
        results = {key.decode(): _decoded(redis.get(key) or b"") for key in keys}
    messages: list[tuple[str, str]] = []
    with Redis.from_url(broker_url) as redis:
        for key in redis.scan_iter(count=1000):
            kind = redis.type(key)
            found: Any = redis.lrange(key, 0, -1) if kind == b"list" else ()
            found = redis.hvals(key) if kind == b"hash" else found
            messages += [(key.decode(), _message(text)) for text in found]
    return Remembered(results, messages)


def ids_in(texts: Iterable[str]) -> list[str]:
    """The transactions that are spoken of, each once, in order."""
    return list(dict.fromkeys(id for text in texts for id in _ID.findall(text)))


def about(
    transaction: str, restored: Mapping[str, State], now: Mapping[str, State], remembered: Remembered
) -> list[str]:
    """One transaction: its rows as they were restored and as they are now, and what Redis held of it."""
    lines = [f"transaction {transaction}"]
    for service in SERVICES:
        for when, state in (("as restored", restored[service]), ("now", now[service])):
            lines += [f"  {service} {when}: {line}" for line in _rows_of(transaction, state)]
    return lines + [f"  Redis at the crash: {line}" for line in remembered.about(transaction)]


def in_short(transaction: str, restored: Mapping[str, State], now: Mapping[str, State], remembered: Remembered) -> str:
    """The same in one line."""
    parts = [f"{transaction}: restored as {_standing(transaction, restored)}; now {_standing(transaction, now)}"]
    results = [_result(key, text) for key, text in sorted(remembered.results.items()) if transaction in key]
    if results:
        parts.append(f"Redis held {', '.join(results)}")
    waiting = Counter(f"{text.split()[0]} in {queue}" for queue, text in remembered.messages if transaction in text)
    if waiting:
        parts.append(f"waiting there: {', '.join(f'{what} ×{count}' for what, count in waiting.items())}")
    return "; ".join(parts)


def alarms(shop: Shop) -> list[str]:
    """What its processes have said as CRITICAL, name of the process before it."""
    return [f"{name}: {line}" for name in shop.names for line in shop.log_of(name).splitlines() if " CRITICAL " in line]


def _standing(transaction: str, states: Mapping[str, State]) -> str:
    """``users: committed, attempt 1, quarantined; orders: done orders.cancel_user_orders (1)``"""
    said = []
    for service, state in states.items():
        words = [_in_journal(row) for row in state.transactions if row["id"] == transaction]
        words += [
            f"{row['kind']} {row['branch']} ({row['attempt']})"
            for row in state.branch_rows
            if row["transaction_id"] == transaction
        ]
        words += ["prepared {4} ({3})".format(*gid.split(":")) for gid in state.prepared if transaction in gid]
        if words:
            said.append(f"{service}: {', '.join(words)}")
    return " | ".join(said) or "nothing"


def _in_journal(row: Mapping[str, Any]) -> str:
    words = [row["kind"], row["state"], f"attempt {row['attempt']}"]
    if row["leader"]:
        words.append(f"with {row['leader']} ({row['leader_attempt']})")
    if row["quarantined_at"]:
        words.append(f"QUARANTINED ({row['error']})")
    return " ".join(words)


def _result(key: str, text: str) -> str:
    """``SUCCESS of products.restock (1)``"""
    *_, attempt, branch = key.split(":")[:5]
    try:
        return f"{json.loads(text)['status']} of {branch} ({attempt})"
    except (ValueError, KeyError, TypeError):
        return key


_SHOWN = (
    "id", "kind", "state", "attempt", "leader", "leader_attempt", "created_at", "decided_at", "settled_at",
    "quarantined_at", "error", "values",
)  # fmt: skip


def _rows_of(transaction: str, state: State) -> list[str]:
    journal = [{name: row[name] for name in _SHOWN} for row in state.transactions if transaction in _ids_of(row)]
    told = [row for row in state.transaction_branches if row["transaction_id"] == transaction]
    done = [row for row in state.branch_rows if row["transaction_id"] == transaction]
    return [
        *(f"journal {_shown(row)}" for row in journal),
        *(f"branch told {_shown(row)}" for row in told),
        *(f"branch row {_shown(row)}" for row in done),
        *(f"prepared {gid}" for gid in state.prepared if transaction in gid),
    ]


def _ids_of(row: Mapping[str, Any]) -> tuple[Any, Any]:
    return row["id"], row["leader"]


def _shown(row: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in row.items() if value is not None)


def _decoded(raw: bytes) -> str:
    return raw.decode(errors="replace")


def _message(raw: bytes) -> str:
    """A message of Celery's with its body in the clear; anything else as it is."""
    text = _decoded(raw)
    try:
        message = json.loads(text)
        message = message[0] if isinstance(message, list) else message
        body = base64.b64decode(message["body"]).decode()
        return f"{message['headers']['task']} {message['headers']['id']} {body}"
    except (ValueError, KeyError, TypeError):
        return text
