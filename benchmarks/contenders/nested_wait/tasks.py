"""The three tasks and their Celery app. One app for all: `celery -A benchmarks.contenders.nested_wait.tasks`."""

from __future__ import annotations

import os
from typing import Any

from celery import Celery

import atomic_commit.workers.at_work  # noqa: F401  (its logging: a line a task)
from atomic_commit import configure
from benchmarks.contenders import business
from benchmarks.contenders.databases import session
from benchmarks.installation import BENCHMARK
from celery_config.manifest import SERVICES

#: Longer than anything takes here.
WAIT = 60.0

# The shop's settings; of Celery's events and results too. The app is shared: only the names of the queues differ.
celery = Celery("nested_wait", set_as_current=False)
configure(
    celery,
    installation=BENCHMARK,
    service="users",
    services=SERVICES,
    broker_url=os.environ["BROKER_URL"],
    result_backend_url=os.environ["RESULT_BACKEND_URL"],
)


@celery.task(name="nested.remove_user", queue=BENCHMARK.branch_queue("users"))
def remove_user(user_id: int) -> None:
    with session("users") as own, own.begin():
        business.hold_user(own, user_id)
        business.delete_user(own, user_id)
        _wait(cancel_orders.apply_async((user_id,), queue=BENCHMARK.branch_queue("orders")))


@celery.task(name="nested.cancel_orders", queue=BENCHMARK.branch_queue("orders"))
def cancel_orders(user_id: int) -> None:
    with session("orders") as own, own.begin():
        held = business.cancel_user_orders(own, user_id)
        own.flush()
        _wait(restock.apply_async((held["quantities"],), queue=BENCHMARK.branch_queue("products")))


@celery.task(name="nested.restock", queue=BENCHMARK.branch_queue("products"))
def restock(quantities: list[list[int]]) -> None:
    with session("products") as own, own.begin():
        business.restock(own, quantities)


def _wait(result: Any) -> None:
    """Raises what the task raised, so that the transaction around is rolled back."""
    result.get(timeout=WAIT, disable_sync_subtasks=False)
