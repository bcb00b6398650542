"""A second shop, with databases of its own, comes to the first one's broker and result backend."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from redis import Redis

from celery_config import create_celery
from celery_config.installation import APPLICATION, VARIABLE
from embedded.shop import Shop
from tests.broker.conftest import SPEEDY
from tests.broker.http_calls import Answer
from tests.broker.shopkeeper import ASYNC, Shopkeeper
from tests.broker.waiting import wait_until
from tests.installation import INSTALLATION, QUEUE_NAMES

#: kombu's note of when each binding of a queue that expires was last refreshed; what stands in it says whose it is.
SHARED = "_kombu.binding_deadlines"
#: What a worker says of a message that is not for its database.
FOREIGN = "meant for another database"
#: Seconds that two shops of one name take each other's messages.
TOGETHER = 10
#: Removals in each shop at the same time.
REMOVALS = 6


@contextmanager
def neighbour(shop: Shopkeeper, name: str) -> Iterator[Shopkeeper]:
    """Another shop, of the installation `name`, that has worked on a broker of its own until it was moved."""
    state = Path(tempfile.mkdtemp(prefix="shop-neighbour-"))
    with Shop(state, environment={**SPEEDY, VARIABLE: name}, flower=False) as other:
        keeper = Shopkeeper(other, shop.broker)
        acquainted(keeper)
        moved = {"BROKER_URL": shop.shop.broker_url, "RESULT_BACKEND_URL": shop.shop.result_backend_url}
        move(other, moved)
        yield keeper
        keeper.assert_whole()
    shutil.rmtree(state)


def move(shop: Shop, to: dict[str, str]) -> None:
    """Start its APIs and workers again with these settings: at another broker, say."""
    processes = [name for name in shop.names if name.endswith(("-api", "-worker"))]
    with ThreadPoolExecutor(len(processes)) as pool:
        list(pool.map(shop.hold_down, processes))
        list(pool.map(lambda name: shop.bring_up(name, environment=to), processes))


def acquainted(shop: Shopkeeper) -> None:
    """Each of its coordinators has seen its participants' databases once: from then on it takes no others for them."""
    _, [person] = customers(shop, 1)
    assert shop.settled(shop.remove_user(person)) == "committed"


def customers(shop: Shopkeeper, number: int) -> tuple[int, list[int]]:
    """Customers with an order of one piece each, and the product, of which ten times as much was in stock."""
    tea = shop.add_product(stock=10 * number)
    people = [shop.add_user() for _ in range(number)]
    for person in people:
        shop.placed_order(person, {tea: 1})
    return tea, people


def all_removed(shop: Shopkeeper, people: list[int]) -> list[Answer]:
    with ThreadPoolExecutor(len(people)) as pool:
        return list(pool.map(lambda person: shop.remove_user(person, **ASYNC), people))


def test_two_installations_on_one_broker_do_not_meet(shop: Shopkeeper) -> None:
    before = keys_of_nobody(shop)  # of other tests, whose messages have ids of their own making
    with neighbour(shop, "another") as other:
        tea, people = customers(shop, REMOVALS)
        her_tea, her_people = customers(other, REMOVALS)
        removals, hers = all_removed(shop, people), all_removed(other, her_people)
        assert [shop.settled(removal) for removal in removals] == ["committed"] * REMOVALS
        assert [other.settled(removal) for removal in hers] == ["committed"] * REMOVALS
        assert {shop.row(removal)["attempt"] for removal in removals} == {1}, "nobody was in anybody's way"
        assert {other.row(removal)["attempt"] for removal in hers} == {1}
        assert (shop.stock_of(tea), other.stock_of(her_tea)) == (10 * REMOVALS,) * 2
        assert workers_that_answer(shop) == set(QUEUE_NAMES), "remote control reaches its own workers"
        assert keys_of_nobody(shop) <= before


def workers_that_answer(shop: Shopkeeper) -> set[str]:
    """The queues of the workers that answer a ping of ours."""
    celery = create_celery("tests", INSTALLATION)
    celery.conf.update(broker_url=shop.shop.broker_url, result_backend=shop.shop.result_backend_url)
    # A connection of its own: those in this process's pool may be older than the broker, which other tests kill.
    with celery.connection_for_write() as connection:
        answers = celery.control.ping(timeout=3, connection=connection)
    celery.close()
    return {name.partition("@")[0] for answer in answers for name in answer}


def keys_of_nobody(shop: Shopkeeper) -> set[str]:
    """Keys of Redis, of broker and result backend, that do not say whose they are."""
    urls = [url for url in (shop.shop.broker_url, shop.shop.result_backend_url) if urlsplit(url).scheme == "redis"]
    found = []
    for url in urls:
        with Redis.from_url(url) as redis:
            found += [key.decode() for key in redis.scan_iter()]
    return {key for key in found if f"{APPLICATION}." not in key and key != SHARED}


@pytest.mark.parametrize(
    "running_shop", ["redis"], indirect=True
)  # RabbitMQ itself refuses a second worker of one name
def test_two_installations_of_one_name_on_one_broker_do_nothing_by_halves(shop: Shopkeeper) -> None:
    """Against the rule: half of the messages go to the wrong worker. But what a foreign worker prepares or answers
    counts for nothing, so that once each shop has its broker for itself, every removal has ended in all of its own
    databases or in none."""
    acquainted(shop)
    tea, people = customers(shop, REMOVALS)
    with neighbour(shop, INSTALLATION.name) as other:
        her_tea, her_people = other.add_product(stock=REMOVALS), [other.add_user() for _ in range(REMOVALS)]
        removals, hers = all_removed(shop, people), all_removed(other, her_people)
        wait_until(lambda: FOREIGN in said_by_workers(shop), "it is said loudly", within=30)
        time.sleep(TOGETHER)
        move(other.shop, {})
        move(shop.shop, {})  # what was told to the wrong worker is told again at a start
        fates = [shop.settled(removal) for removal in removals]
        her_fates = [other.settled(removal) for removal in hers]
        for keeper, persons, ends in ((shop, people, fates), (other, her_people, her_fates)):
            gone = [keeper.user_status(person) is None for person in persons]
            assert gone == [end == "committed" for end in ends]
        assert [bool(shop.orders_of(person, "open")) for person in people] == [end != "committed" for end in fates]
        back = sum(end == "committed" for end in fates)
        assert shop.stock_of(tea) == 9 * REMOVALS + back
        assert other.stock_of(her_tea) == REMOVALS, "nothing of the other shop's came here"
        shop.assert_whole()


def said_by_workers(shop: Shopkeeper) -> str:
    return "".join(shop.shop.log_of(name) for name in shop.shop.names if name.endswith("-worker"))
