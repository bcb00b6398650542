"""What a service's database has forgotten is named by the others' command lines, and run again by its own workers."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from typing import Any

import psycopg2
import pytest

from embedded.driver import Answer
from tests.broker.shopkeeper import Shopkeeper
from tests.installation import INSTALLATION

CANCEL = "orders.cancel_user_orders"


def typed(shop: Shopkeeper, service: str, *words: str) -> subprocess.CompletedProcess[str]:
    """`python -m <service>_service …`, at the shop's addresses."""
    environment = {
        **os.environ,
        "ATOMIC_INSTALLATION": INSTALLATION.name,
        "DATABASE_URL": shop.shop.database_url(service),
        "BROKER_URL": shop.shop.broker_url,
        "RESULT_BACKEND_URL": shop.shop.result_backend_url,
    }
    command = [sys.executable, "-m", f"{service}_service", *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


def lost(shop: Shopkeeper, service: str, answer: Answer) -> list[dict[str, Any]]:
    """What it names of this transaction: other tests have left theirs."""
    said = typed(shop, service, "verify", "--json")
    assert said.returncode in (0, 3), said.stderr
    return [loss for loss in json.loads(said.stdout)["losses"] if loss["transaction"] == answer.transaction]


@pytest.fixture
def forgotten(shop: Shopkeeper) -> tuple[Answer, int]:
    """A removal of whose cancelling the orders database knows nothing; and the order, which is open again."""
    ada, tea = shop.add_user(), shop.add_product(stock=10)
    order = shop.placed_order(ada, {tea: 3})
    removal = shop.remove_user(ada)
    assert shop.settled(removal) == "committed"
    with contextlib.closing(psycopg2.connect(shop.shop.admin_url("orders"))) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM branch_rows WHERE transaction_id = %s", (removal.transaction,))
            cursor.execute("UPDATE orders SET status = 'open' WHERE id = %s", (order,))
    return removal, order


def test_what_is_forgotten_is_named_and_run_again_by_the_workers(
    shop: Shopkeeper, forgotten: tuple[Answer, int]
) -> None:
    removal, order = forgotten
    [loss] = lost(shop, "users", removal)
    assert (loss["branch"], loss["lost"], loss["service"]) == (CANCEL, "branch", "orders")
    assert lost(shop, "products", removal) == []
    done = typed(shop, "users", "redo", str(removal.transaction))
    assert done.returncode == 0, done.stderr
    assert shop.order_status(order) == "cancelled"
    assert lost(shop, "users", removal) == []
    assert typed(shop, "users", "redo", str(removal.transaction)).returncode == 2


@pytest.mark.parametrize("running_shop", ["redis"], indirect=True)  # silence is the same on every broker
def test_a_service_whose_outcome_worker_is_down_is_told_by_name(
    shop: Shopkeeper, forgotten: tuple[Answer, int]
) -> None:
    removal, order = forgotten
    with shop.down("orders-outcome-worker"):
        said = typed(shop, "users", "verify", "--json")
        assert said.returncode == 4, said.stderr
        assert json.loads(said.stdout)["asked"] == {"orders": "did not answer within 10 s", "products": "answered"}
        assert typed(shop, "users", "redo", str(removal.transaction)).returncode == 4
    with shop.down("orders-worker"):
        assert lost(shop, "users", removal), "the outcome worker answers, whatever branches wait for"
    assert typed(shop, "users", "redo", str(removal.transaction)).returncode == 0
    assert shop.order_status(order) == "cancelled"
