"""Whatever an operator can type or press, under load: the shop settles everything; what can only harm is refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery
from celery.worker.control import Panel
from flower.urls import handlers
from kombu import Connection, pools
from tornado.web import url

from atomic_commit.workers.queues import declared_queues
from celery_config import create_celery
from celery_config.manifest import SERVICES
from embedded.driver import ASYNC, Answer
from local_servers.json_http import call
from tests.broker.shopkeeper import Shopkeeper
from tests.broker.waiting import wait_until
from tests.installation import INSTALLATION, QUEUE_NAMES

#: Within which everything is settled though somebody presses everything: three silent attempts.
QUICKLY = 20.0
#: The task that settles most: without it no removal is settled.
COMMIT = INSTALLATION.task("products", "commit")
QUEUE = INSTALLATION.outcome_queue("products")

#: Every command that `celery control` and `celery inspect` know → its arguments here.
COMMANDS: dict[str, dict[str, Any]] = {
    "active": {},
    "active_queues": {},
    "add_consumer": {"queue": INSTALLATION.outcome_queue("users")},
    "autoscale": {"max": 1, "min": 0},
    "cancel_consumer": {"queue": QUEUE},
    "clock": {},
    "conf": {"with_defaults": True},
    "disable_events": {},
    "election": {"id": "x", "topic": "task", "action": {"task": COMMIT, "args": [], "kwargs": {}}},
    "enable_events": {},
    "heartbeat": {},
    "hello": {"from_node": "somebody", "revoked": {}},
    "memdump": {},
    "memsample": {},
    "objgraph": {},
    "ping": {},
    "pool_grow": {"n": 200},
    "pool_restart": {},
    "pool_shrink": {"n": 8},
    "query_task": {"ids": ["nobody's"]},
    "rate_limit": {"task_name": COMMIT, "rate_limit": "1/h"},
    "registered": {},
    "report": {},
    "reserved": {},
    "revoke": {"task_id": []},
    "revoke_by_stamped_headers": {"headers": {"gid": ["*"]}},
    "revoked": {},
    "scheduled": {},
    "shutdown": {},
    "stats": {},
    "terminate": {"task_id": [], "signal": "KILL"},
    "time_limit": {"task_name": COMMIT, "soft": 0.001, "hard": 0.001},
}
REFUSED = {
    *("add_consumer", "autoscale", "cancel_consumer", "disable_events", "election", "hello", "memdump", "memsample"),
    *("objgraph", "pool_grow", "pool_restart", "pool_shrink", "rate_limit", "revoke", "revoke_by_stamped_headers"),
    *("shutdown", "terminate", "time_limit"),
}


@pytest.fixture
def celery(shop: Shopkeeper) -> Iterator[Celery]:
    """The app of a person at a command line."""
    pools.reset()  # kombu keeps connections for the process, and the broker has closed those that were idle for minutes
    celery = create_celery("tests", INSTALLATION)
    celery.conf.update(
        broker_url=shop.shop.broker_url,
        result_backend=shop.shop.result_backend_url,
        task_queues=declared_queues(INSTALLATION, SERVICES, shop.shop.broker_url),
    )
    yield celery
    celery.close()


class Load:
    """Removals that are on their way, and that must all be settled quickly."""

    def __init__(self, shop: Shopkeeper) -> None:
        self.shop, self.tea = shop, shop.add_product(stock=100)
        self._people = [shop.add_user() for _ in range(4)]
        for person in self._people:
            shop.placed_order(person, {self.tea: 1})
        self.removals: list[Answer] = []

    def some(self) -> None:
        """Two more removals begin."""
        for _ in range(2):
            self.removals.append(self.shop.remove_user(self._people.pop(), **ASYNC))

    def assert_settles(self) -> None:
        """All of them commit, quickly, and each outcome with them."""
        for removal in self.removals:
            assert self.shop.settled(removal, QUICKLY) == "committed", removal


def told(celery: Celery, command: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """The answer of each worker that answered."""
    answers = celery.control.broadcast(command, arguments=arguments, reply=True, limit=len(QUEUE_NAMES), timeout=5)
    return {worker: what for answer in answers or () for worker, what in answer.items()}


def test_every_command_that_celery_knows_is_tried() -> None:
    assert COMMANDS.keys() == Panel.meta.keys()
    assert {meta.alias for meta in Panel.meta.values()} - {None} <= Panel.data.keys()


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_a_command_keeps_nothing_from_settling(command: str, shop: Shopkeeper, celery: Celery) -> None:
    load = Load(shop)
    load.some()
    arguments = COMMANDS[command]
    if "task_id" in arguments:
        arguments = {**arguments, "task_id": [branch["task_id"] for branch in shop.branches(load.removals[0])]}
    answers = told(celery, command, arguments)
    load.some()
    load.assert_settles()
    refused = {worker for worker, what in answers.items() if "refused" in str(what)}
    assert len(answers) == len(QUEUE_NAMES), "each worker answers"
    assert refused == (set(answers) if command in REFUSED else set()), answers
    reading = told(celery, "active_queues", {})
    assert {queue["name"] for queues in reading.values() for queue in queues} == set(QUEUE_NAMES)


@pytest.mark.parametrize("what", ["queue_purge", "queue_delete"])
def test_a_queue_that_is_emptied_or_deleted_keeps_nothing_from_settling(what: str, shop: Shopkeeper) -> None:
    """``celery purge`` and ``celery amqp queue.delete``."""
    load = Load(shop)
    load.some()
    with Connection(shop.shop.broker_url) as connection:
        for name in QUEUE_NAMES:
            getattr(connection.default_channel, what)(name)
    load.some()
    load.assert_settles()


@pytest.mark.parametrize("task", ["commit", "rollback", "decide", "review", "acknowledge"])
def test_a_task_that_is_called_by_hand_keeps_nothing_from_settling(task: str, shop: Shopkeeper, celery: Celery) -> None:
    """``celery call``, with the arguments of another, with nonsense, and with none."""
    load = Load(shop)
    load.some()
    service, (_, branch, *_) = ("users", shop.branches(load.removals[0]))
    for kwargs in ({}, {"gid": 5}, {"gid": "nobody's"}, {"gid": branch["task_id"]}, {"transaction": "x"}):
        celery.send_task(
            INSTALLATION.task(service, task), kwargs=kwargs, queue=INSTALLATION.outcome_queue(service), expires=60
        )
    load.some()
    load.assert_settles()


def actions() -> list[str]:
    """Every address of Flower at which something can be done rather than read."""
    routes = [(one.matcher.regex.pattern.rstrip("$"), one.handler_class) if isinstance(one, url) else one[:2]
              for one in handlers]  # fmt: skip
    return [pattern for pattern, target in routes if pattern.startswith("/api/") and "post" in vars(target)]


@pytest.mark.parametrize("address", actions())
def test_flower_does_nothing_but_show(address: str, shop: Shopkeeper, celery: Celery) -> None:
    (worker, *_) = told(celery, "ping", {})
    target = worker if "/worker/" in address else COMMIT
    assert call("POST", shop.shop.flower_url + address.replace("(.+)", target), {}).status == 403


def test_flowers_page_offers_nothing_to_press(shop: Shopkeeper, celery: Celery) -> None:
    load = Load(shop)
    load.some()
    load.assert_settles()
    (worker, *_) = told(celery, "ping", {})
    known = lambda: worker in call("GET", f"{shop.shop.flower_url}/api/workers?refresh=1").body  # noqa: E731
    wait_until(known, "Flower knows the worker", within=20)
    task = shop.branches(load.removals[0])[1]["task_id"]
    seen = lambda: call("GET", f"{shop.shop.flower_url}/api/task/info/{task}").status == 200  # noqa: E731
    wait_until(seen, "Flower knows the task", within=20)
    for page in (f"worker/{worker}", f"task/{task}", "tasks", "workers"):
        text = call("GET", f"{shop.shop.flower_url}/{page}").expect(200).content.decode()
        words = ("Shut Down", "Revoke", "Terminate", "Rate Limit", "Pool Restart", "Cancel Consumer", "Grow")
        assert not [word for word in words if f">{word}<" in text or f'value="{word}"' in text], page


def test_flower_offers_what_the_tests_look_for() -> None:
    """The addresses above are found where Flower is asked, not where this file says."""
    assert set(actions()) >= {
        "/api/worker/shutdown/(.+)",
        "/api/task/revoke/(.+)",
        "/api/task/rate-limit/(.+)",
        "/api/task/apply/(.+)",
        "/api/task/send-task/(.+)",
    }
