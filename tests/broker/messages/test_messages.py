"""Messages that repeat, come late, overtake each other or are lost, and results that are forged: the most telling rows
of the table in ``tests/crash/message_cases.py``. ``python -m tests.crash.messages`` goes through all of it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from atomic_commit.workers.remote_control import VARIABLE
from embedded.shop import Shop
from tests.broker.shopkeeper import WORKERS, Shopkeeper
from tests.crash.forgery import Forger
from tests.crash.interception import Post
from tests.crash.message_cases import all_cases
from tests.crash.messages import play_case

#: Celery stores results by it; here the forger does so in the test's own process.
pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")

CHOSEN = (
    "remove_user, commit: orders.cancel_user_orders: five at once",
    "place_order, commit: products.take_stock: five in a row",
    "remove_user, refusal: orders.rollback: five at once",
    "cancel_order, commit: products.restock: dropped",
    "remove_user, commit: users.decide: dropped",
    "remove_user, commit: products.commit: amid repeats",
    "place_order, refusal: users.hold_active_user: again when settled",
    "cancel_order, refusal: every message: backwards when settled",
    "place_order, retry: users.hold_active_user: overtaken by the next attempt",
    "remove_user, retry: orders.rollback: again after the next attempt",
    "remove_user, refusal: products.restock: SUCCESS without proof; counted by message",
    "place_order, commit: users.hold_active_user: SUCCESS, proof of another attempt; counted by recovery",
    "cancel_order, commit: products.restock: FAILURE, refused; counted by recovery",
    "remove_user, commit: products.restock: lost; counted by message",
)


@pytest.fixture(scope="module")
def post(running_shop: tuple[Shop, str]) -> Iterator[Post]:
    """Stands between the services and their workers for as long as this module runs. The workers obey it meanwhile."""
    shop, _ = running_shop
    restart_workers(shop, {VARIABLE: "all"})
    with Post(shop.broker_url, shop.result_backend_url) as between:
        yield between
    restart_workers(shop, {})


def restart_workers(shop: Shop, environment: dict[str, str]) -> None:
    with ThreadPoolExecutor(len(WORKERS)) as pool:
        list(pool.map(shop.hold_down, WORKERS))
        list(pool.map(lambda name: shop.bring_up(name, environment=environment), WORKERS))


@pytest.fixture(scope="module")
def forger(running_shop: tuple[Shop, str]) -> Iterator[Forger]:
    shop, _ = running_shop
    forger = Forger(shop.broker_url, shop.result_backend_url)
    yield forger
    forger.close()


@pytest.mark.parametrize("chosen", CHOSEN)
def test_the_transaction_ends_whole_and_as_it_must(chosen: str, shop: Shopkeeper, post: Post, forger: Forger) -> None:
    (case,) = [case for case in all_cases() if str(case) == chosen]
    result = play_case(shop, post, forger, case)
    assert not result["wrong"], result["wrong"]
