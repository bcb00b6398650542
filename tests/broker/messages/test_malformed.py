"""A message that nobody can read costs nobody anything, and lies where a person finds it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter

import pytest
from kombu import Connection
from redis import Redis

from atomic_commit.workers.unreadable import KEPT, shelf_key
from local_servers.json_http import CallFailed
from tests.broker.shopkeeper import WORKERS, Shopkeeper
from tests.broker.waiting import wait_until
from tests.crash.malformed import Forgeries, alarms, assert_unmoved
from tests.installation import INSTALLATION, QUEUE_NAMES

#: Some that ended a worker each, or came back without an end.
SINGLE = {
    "raw bytes": (b"\x00\xff", "application/data", "binary", {}),
    "42": (b"42", "application/json", "utf-8", {}),
    "a list": (b"[]", "application/json", "utf-8", {}),
    "a body of 7": (b"7", "application/json", "utf-8", {"task": "orders.commit", "id": "a"}),
    "a pickle": (b"\x80\x04N.", "application/x-python-serialize", "binary", {"task": "orders.commit", "id": "a"}),
    "a time limit of x": (b"[[], {}, {}]", "application/json", "utf-8", {"timelimit": "x"}),
    "an unknown task": (b"[[], {}, {}]", "application/json", "utf-8", {"task": "nobody.knows", "id": "a"}),
}


@pytest.mark.parametrize("which", SINGLE)
def test_what_cannot_be_read_is_kept_and_said_once(which: str, shop: Shopkeeper) -> None:
    body, content, encoding, headers = SINGLE[which]
    if which == "a time limit of x":
        headers = {**headers, "task": INSTALLATION.task("orders", "commit"), "id": "a"}
    pids, before, said = (
        {name: shop.shop.pid(name) for name in WORKERS},
        alarms(shop.shop),
        {name: len(shop.shop.log_of(name)) for name in WORKERS},
    )
    clear(shop)
    # confirmed one by one, or what the broker has not taken yet goes with the connection
    with Connection(shop.shop.broker_url, transport_options={"confirm_publish": True}) as connection:
        channel = connection.default_channel
        for queue in QUEUE_NAMES:
            for _ in range(20):
                message = channel.prepare_message(body, 0, content, encoding, dict(headers), {})
                channel.basic_publish(message, exchange="", routing_key=queue)
    try:
        wait_until(lambda: len(kept(shop)) == 20 * len(QUEUE_NAMES), "each is kept, each once", within=20)
    except AssertionError as error:
        pytest.fail(f"{error}: {Counter(record['queue'] for record in kept(shop))}")
    assert {record["queue"] for record in kept(shop)} == set(QUEUE_NAMES)
    assert sum(counts(shop).values()) == 20 * len(QUEUE_NAMES)
    assert_unmoved(shop, pids, before)
    lines = [
        line
        for name in WORKERS
        for line in shop.shop.log_of(name)[said[name] :].splitlines()
        if "is kept" in line or "Traceback" in line
    ]
    assert len(lines) <= len(WORKERS), lines


def test_nothing_that_the_shop_itself_sends_is_kept(shop: Shopkeeper) -> None:
    clear(shop)
    ada, tea = shop.add_user(), shop.add_product(stock=1)
    order = shop.placed_order(ada, {tea: 1})
    refused = shop.place_order(ada, {tea: 2})
    assert refused.status == 409, "error callbacks, too"
    assert shop.settled(shop.cancel_order(order)) == "committed"
    shop.placed_order(ada, {tea: 1})
    assert shop.settled(shop.remove_user(ada)) == "committed"
    shop.assert_whole()
    assert kept(shop) == []


def test_a_person_finds_it(shop: Shopkeeper) -> None:
    clear(shop)
    with Connection(shop.shop.broker_url) as connection:
        channel = connection.default_channel
        message = channel.prepare_message(b"hello", 0, "text/plain", "utf-8", {}, {})
        channel.basic_publish(message, exchange="", routing_key=INSTALLATION.outcome_queue("orders"))
    wait_until(lambda: kept(shop), "it is kept", within=20)
    urls = {"BROKER_URL": shop.shop.broker_url, "RESULT_BACKEND_URL": shop.shop.result_backend_url}
    environment = {"ATOMIC_INSTALLATION": INSTALLATION.name, "DATABASE_URL": shop.shop.database_url("users"), **urls}

    def said(*arguments: str) -> str:
        command = (sys.executable, "-m", "users_service", "unreadable", *arguments)
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout

    assert "1 kept: 1 headers" in said()
    assert INSTALLATION.outcome_queue("orders") in said()
    (record,) = json.loads(said("--json"))
    assert (record["body"], record["size"]) == ("aGVsbG8=", 5)
    assert "0 kept" in said("--clear")


@pytest.mark.parametrize("running_shop", ["redis"], indirect=True)  # the shelf is the same: beside the results
def test_the_shelf_is_bounded(shop: Shopkeeper) -> None:
    clear(shop)
    with Redis.from_url(shop.shop.result_backend_url) as redis:
        redis.rpush(shelf_key(INSTALLATION), *[b"{}"] * KEPT)
    with Redis.from_url(shop.shop.broker_url) as redis:
        redis.rpush(QUEUE_NAMES[0], *[b"garbage"] * 50)
    wait_until(lambda: sum(counts(shop).values()) >= 50, "each is counted", within=20)
    assert len(kept(shop)) == KEPT
    clear(shop)


def test_hundreds_of_malformed_messages_move_nobody(shop: Shopkeeper) -> None:
    pids, before = {name: shop.shop.pid(name) for name in WORKERS}, alarms(shop.shop)
    forgeries = Forgeries(shop.shop, seed=16)
    try:
        for _ in range(600):
            forgeries.send()
        assert_unmoved(shop, pids, before)
    except (AssertionError, CallFailed) as error:
        pytest.fail("\n".join([str(error), *forgeries.last[-20:]]), pytrace=False)
    finally:
        forgeries.close()


def kept(shop: Shopkeeper) -> list[dict[str, str]]:
    with Redis.from_url(shop.shop.result_backend_url) as redis:
        return [json.loads(item) for item in redis.lrange(shelf_key(INSTALLATION), 0, -1)]


def counts(shop: Shopkeeper) -> dict[bytes, int]:
    with Redis.from_url(shop.shop.result_backend_url) as redis:
        return {name: int(count) for name, count in redis.hgetall(f"{shelf_key(INSTALLATION)}.counts").items()}


def clear(shop: Shopkeeper) -> None:
    with Redis.from_url(shop.shop.result_backend_url) as redis:
        redis.delete(shelf_key(INSTALLATION), f"{shelf_key(INSTALLATION)}.counts")
