"""A person pauses the whole application, resumes it, and sets a restore point, while customers are at it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from embedded.driver import ASYNC, Answer
from tests.broker.shopkeeper import Shopkeeper


def command(shop: Shopkeeper, *words: str) -> subprocess.CompletedProcess[str]:
    """``python -m orders_service …``"""
    environment = {
        **os.environ,
        "DATABASE_URL": shop.shop.admin_url("orders"),
        "BROKER_URL": shop.shop.broker_url,
        "RESULT_BACKEND_URL": shop.shop.result_backend_url,
    }
    argv = [sys.executable, "-m", "orders_service", *words]
    return subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def resumed(shop: Shopkeeper) -> Iterator[None]:
    """Whatever the test does, the shop is not paused after it."""
    yield
    shop.bring_everything_up()
    assert command(shop, "resume").returncode == 0


class Customers:
    """Four people who place orders and cancel them until the block ends. ``answers``: all that they were told, with the
    moment at which they asked."""

    def __init__(self, shop: Shopkeeper) -> None:
        self.shop, self.tea, self.people = shop, shop.add_product(stock=1000), [shop.add_user() for _ in range(4)]
        self.answers: list[tuple[float, Answer]] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._shop, args=(person,)) for person in self.people]

    def __enter__(self) -> Customers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _shop(self, person: int) -> None:
        while not self._stop.is_set():
            placed = self._told(lambda: self.shop.place_order(person, {self.tea: 1}))
            if placed.status == 201:
                self._told(lambda order=placed.body["order"]["id"]: self.shop.cancel_order(order))

    def _told(self, ask: Callable[[], Answer]) -> Answer:
        began = time.monotonic()
        answer = ask()
        self.answers.append((began, answer))
        return answer


@pytest.mark.usefixtures("resumed")
def test_a_paused_shop_settles_accepts_nothing_and_is_resumed(shop: Shopkeeper) -> None:
    ada = shop.add_user()
    with Customers(shop) as customers:
        paused = command(shop, "pause", "a backup")
        since = time.monotonic()
        assert (paused.returncode, paused.stderr) == (0, ""), paused
        assert "settled: nothing is undecided, owed or prepared anywhere" in paused.stdout
        accepted = shop.databases.rows("orders", "SELECT id FROM transactions")
        refused = shop.remove_user(ada)
        assert (refused.status, refused.body["type"]) == (503, "/problems/paused")
        assert "a backup" in refused.body["detail"]
        assert not shop.databases.prepared()
        assert command(shop, "transactions").stdout.startswith("PAUSED for ")
        assert shop.databases.rows("orders", "SELECT id FROM transactions") == accepted
    assert {answer.status for began, answer in customers.answers if began > since} <= {503}
    assert command(shop, "resume").returncode == 0
    assert shop.remove_user(ada).status == 200


def test_a_restore_point_is_set_in_the_middle_of_the_work(shop: Shopkeeper) -> None:
    with Customers(shop):
        for number in range(3):
            name = f"{shop.broker}.{number}"
            done = command(shop, "restore-point", name)
            assert (done.returncode, done.stderr) == (0, ""), done
            assert done.stdout.startswith(f"restore point {name} is set everywhere; decisions were held for at most ")
            assert f'restore point "{name}" created at ' in shop.shop.log_of("postgres")


@pytest.mark.usefixtures("resumed")
def test_a_service_whose_outcome_worker_is_down_is_named_and_nothing_is_set(shop: Shopkeeper) -> None:
    ada = shop.add_user()
    with shop.down("products-outcome-worker"):
        point = command(shop, "restore-point", f"{shop.broker}.missed")
        paused = command(shop, "pause", "--wait", "0")
        assert shop.remove_user(ada, **ASYNC).status == 503
    assert (point.returncode, point.stdout) == (3, "nothing was set anywhere, and decisions go on\n"), point
    assert "products: did not answer within 15 s" in point.stderr
    assert f"{shop.broker}.missed" not in shop.shop.log_of("postgres")
    assert paused.returncode == 3
    assert paused.stdout.startswith("paused: users, orders; products may accept transactions still\n")
    assert paused.stderr == "products: did not answer within 10 s\n"
