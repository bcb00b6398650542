"""Messages that nobody can read, made by a seed: ``python -m tests.crash.malformed --seconds 60 --broker rabbitmq``.

Each begins as a message that is well formed, as Celery writes it, and one or two things of it are then replaced: a
header, a property, the body, on Redis anything of kombu's envelope, or all of it by raw bytes. They go to the queues of
all workers, and to the exchanges of remote control and of events. The judgement is the shop's: no worker ends or starts
again, every queue is read to its end, and a removal is then settled as quickly as ever.
"""

from __future__ import annotations

import argparse
import base64
import copy
import json
import random
import shutil
import struct
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from amqp.exceptions import AMQPError
from kombu import Connection
from redis import Redis

from celery_config import create_celery
from embedded.shop import Shop
from local_servers.json_http import CallFailed
from tests.broker.shopkeeper import WORKERS, Shopkeeper
from tests.broker.waiting import wait_until
from tests.installation import INSTALLATION, QUEUE_NAMES

_DEEP = "[" * 5_000 + "]" * 5_000
_NESTED: Any = []
for _ in range(300):
    _NESTED = [_NESTED]

#: What takes the place of something. (The last of them are of JSON alone; AMQP has no such values.)
JUNK: tuple[Any, ...] = (
    *(None, True, 0, -1, 7, 2**40, 1.5, "", "x", "x" * 10_000, "\x00", "9999-12-31T23:59:59", "2001-01-01", "ü"),
    *([], [None], ["x"], ["x", "x"], [[]], {}, {"x": {}}, {"task": 5}, {"__type__": "datetime", "__value__": 5}),
    *(_NESTED, 10**400, "\ud800", float("nan")),
)
BODIES: tuple[bytes, ...] = (
    *(b"", b"\x00\xff\xfe", b"42", b"7", b"[]", b"{}", b"null", b'"x"', b"[[], {}]", b"[[], {}, {}, {}]", b"[7, 7, 7]"),
    *(b"[[], [], {}]", b'[[], {}, {"chain": 5}]', b'[[], {}, {"chain": [5]}]', b'[[], {}, {"callbacks": [{}]}]'),
    *(b'[[], {}, {"errbacks": "x"}]', b'[[], {}, {"chord": {"task": 5}}]', b"[[], {}", _DEEP.encode(), b"\x80\x04N."),
    *(b'[[], {"gid": {"__type__": "datetime", "__value__": 5}}, {}]', "[[], {}, {}]".encode("utf-16")),
)
_CONTENT = ("", "application/x-python-serialize", "application/data", "text/plain", "x", "application/x-yaml")
_ENCODINGS = ("", "binary", "utf-16", "x", "ascii", "us-ascii")
_UNWRITABLE = (TypeError, ValueError, OverflowError, AttributeError, RecursionError, struct.error)
_INSTRUCTIONS = ("method", "arguments", "destination", "pattern", "matcher", "ticket", "reply_to", "more")


class Forgeries:
    """Sends malformed messages to one shop, each another one by `seed`."""

    def __init__(self, shop: Shop, seed: int) -> None:
        self._shop, self._by = shop, random.Random(seed)
        self._on_redis = urlsplit(shop.broker_url).scheme == "redis"
        self._redis = Redis.from_url(shop.broker_url) if self._on_redis else None
        self._connection = Connection(shop.broker_url)
        self.sent: Counter[str] = Counter()
        self.last: list[str] = []
        celery = create_celery("tests", INSTALLATION)
        task = celery.amqp.as_task_v2("an-id", INSTALLATION.task("users", "acknowledge"), (), {"gid": "nobody's"})
        self._headers, self._properties, self._body = task.headers, task.properties, json.dumps(task.body).encode()
        self._control, self._events = f"{celery.conf.control_exchange}.pidbox", celery.conf.event_exchange
        celery.close()

    def close(self) -> None:
        self._connection.release()
        if self._redis:
            self._redis.close()

    def send(self) -> None:
        """One of them. What the client itself can't write is not sent."""
        kind = self._by.choice(("headers", "headers", "headers", "content", "body", "raw", "control", "events"))
        queue = self._by.choice(QUEUE_NAMES)
        try:
            if kind in ("control", "events"):
                self._broadcast(kind)
            elif kind == "raw" and self._redis:
                item = self._raw(queue)
                self._note(kind, queue, item)
                self._redis.lpush(queue, item)
            else:
                self._publish(kind, queue)
        except (*_UNWRITABLE, AMQPError) as unwritable:
            self._note("not written", queue, unwritable)
            self._connection.release()
            self._connection = Connection(self._shop.broker_url)
        else:
            self.sent[kind] += 1

    def _note(self, *what: object) -> None:
        self.last = [*self.last[-200:], " ".join(repr(one)[:300] for one in what)]

    def _publish(self, kind: str, queue: str) -> None:
        headers, properties = copy.deepcopy(self._headers), dict(self._properties)
        body, content, encoding = self._body, "application/json", "utf-8"
        if kind == "headers":
            for name in self._by.sample(
                [*sorted(headers), "compression", "chord", "group_index"], self._by.choice((1, 2))
            ):
                headers[name] = self._by.choice(JUNK)
            if self._by.random() < 0.2:
                del headers[self._by.choice(sorted(headers))]
            if self._by.random() < 0.05:
                headers = {}
        elif kind == "content":
            content, encoding = self._by.choice((content, *_CONTENT)), self._by.choice((encoding, *_ENCODINGS))
            properties["reply_to"] = self._by.choice(("", "x", None))
        else:
            body = self._by.choice(BODIES)
            if self._by.random() < 0.3:
                headers = self._by.choice(({}, {"task": "x"}, {"id": "x"}))
        self._note(kind, queue, headers, content, encoding, body)
        self._put(body, content, encoding, headers, properties, "", queue)

    def _put(
        self, body: bytes, content: str, encoding: str, headers: Any, properties: Any, exchange: str, key: str
    ) -> None:
        if self._redis and not exchange:
            properties |= {
                "delivery_info": {"exchange": "", "routing_key": key},
                "delivery_tag": str(self._by.random()),
            }
            envelope = {"headers": headers, "content-type": content, "content-encoding": encoding}
            properties["body_encoding"] = "base64"
            envelope |= {"properties": properties, "body": base64.b64encode(body).decode()}
            self._redis.lpush(key, json.dumps(envelope))
            return
        channel = self._connection.default_channel
        message = channel.prepare_message(body, 0, content, encoding, headers, dict(properties))
        channel.basic_publish(message, exchange=exchange, routing_key=key)

    def _raw(self, queue: str) -> bytes:
        """An element of the list that is no envelope, or one with something else in its place."""
        if self._by.random() < 0.3:
            return self._by.choice(BODIES)
        info = {"exchange": "", "routing_key": queue}
        properties: dict[str, Any] = {
            "delivery_info": info,
            "delivery_tag": "t",
            "body_encoding": "base64",
            "priority": 0,
        }
        body = base64.b64encode(self._body).decode()
        envelope: dict[str, Any] = {"body": body, "content-type": "application/json", "content-encoding": "utf-8"}
        envelope |= {"headers": dict(self._headers), "properties": properties}
        within = self._by.choice((envelope, envelope, properties, properties, info))
        name = self._by.choice(sorted(within))
        if self._by.random() < 0.3:
            del within[name]
        else:
            within[name] = self._by.choice(JUNK)
        return json.dumps(envelope).encode()

    def _broadcast(self, kind: str) -> None:
        exchange = self._control if kind == "control" else self._events
        if self._redis and self._by.random() < 0.5:
            item = self._by.choice(BODIES)
            self._note(kind, item)
            self._redis.publish(f"/0.{exchange}", item)
            return
        instruction = {"method": "ping", "arguments": {}, "destination": None}
        instruction[self._by.choice(_INSTRUCTIONS)] = self._by.choice(JUNK)
        body = self._by.choice((json.dumps(instruction).encode(), self._by.choice(BODIES)))
        headers = {"clock": self._by.choice((1, *JUNK))}
        self._note(kind, headers, body)
        if self._redis:
            properties = {"delivery_info": {"exchange": exchange, "routing_key": ""}, "delivery_tag": "t"}
            envelope = {"body": body.decode(), "headers": headers, "content-type": "application/json"}
            envelope |= {"content-encoding": "utf-8", "properties": properties}
            self._redis.publish(f"/0.{exchange}", json.dumps(envelope))
            return
        self._put(body, "application/json", "utf-8", headers, {}, exchange, "")


def waiting(shop: Shop) -> int:
    """Messages in all queues of the workers."""
    if urlsplit(shop.broker_url).scheme == "redis":
        with Redis.from_url(shop.broker_url) as redis:
            return sum(int(redis.llen(name)) for name in QUEUE_NAMES)
    with Connection(shop.broker_url) as connection:
        return sum(connection.default_channel.queue_declare(name, passive=True).message_count for name in QUEUE_NAMES)


#: What a worker says that has lost its connection, or its mind.
_ALARMS = ("Connection to broker lost", "Unrecoverable error", "Traceback", "Restoring", "Control command error")


def assert_unmoved(keeper: Shopkeeper, pids: dict[str, int], before: dict[str, int]) -> None:
    """No worker has ended, or has started again to read; all is read; and the shop works as it did."""
    shop = keeper.shop
    wait_until(lambda: waiting(shop) == 0, "every queue is read to its end", within=30)
    assert {name: shop.pid(name) for name in WORKERS} == pids, "a worker ended"
    for name in WORKERS:
        said = shop.log_of(name)
        assert not (found := [one for one in _ALARMS[:2] if said.count(one) > before[name]]), f"{name} said {found}"
    began = time.monotonic()
    ada, tea = keeper.add_user(), keeper.add_product()
    keeper.placed_order(ada, {tea: 1})
    removal = keeper.remove_user(ada)
    assert keeper.settled(removal, within=10) == "committed", "a removal is settled"
    assert time.monotonic() - began < 10, "as quickly as ever"


def alarms(shop: Shop) -> dict[str, int]:
    """How often each worker has said so before."""
    return {name: max(shop.log_of(name).count(one) for one in _ALARMS[:2]) for name in WORKERS}


def main() -> int:
    """Send until the time is over; judge every thousand. Returns an exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash.malformed", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--broker", choices=("redis", "rabbitmq"), default="redis")
    chosen = parser.parse_args()
    state = Path(tempfile.mkdtemp(prefix="malformed-"))
    with Shop(state, broker=chosen.broker) as shop:
        keeper, forgeries = Shopkeeper(shop, chosen.broker), Forgeries(shop, chosen.seed)
        pids, before, end = {name: shop.pid(name) for name in WORKERS}, alarms(shop), time.monotonic() + chosen.seconds
        try:
            while time.monotonic() < end:
                for _ in range(1000):
                    forgeries.send()
                assert_unmoved(keeper, pids, before)
        except (AssertionError, CallFailed) as error:
            print(f"{error}\nthe last:", *forgeries.last[-20:], keeper.report(), sep="\n")
            return 1
        finally:
            forgeries.close()
            print(f"{chosen.broker}, seed {chosen.seed}: {sum(forgeries.sent.values())} sent: {dict(forgeries.sent)}")
    shutil.rmtree(state)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
