"""The steps, their compensations and their Celery app: `celery -A benchmarks.contenders.celery_saga.saga`."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from celery import Celery
from celery_saga import Saga, StepResponse, set_default_backend
from celery_saga.backends import RedisSagaBackend
from sqlalchemy.orm import Session

import atomic_commit.workers.at_work  # noqa: F401  (its logging: a line a task)
from atomic_commit import configure
from benchmarks.contenders import business
from benchmarks.contenders.databases import session
from benchmarks.installation import BENCHMARK
from celery_config.manifest import SERVICES

QUEUE = BENCHMARK.branch_queue("users")  # one for all steps: its own name for it would be declared nowhere

celery = Celery("saga")  # the current app: the library's tasks are shared tasks
configure(
    celery,
    installation=BENCHMARK,
    service="users",
    services=SERVICES,
    broker_url=os.environ["BROKER_URL"],
    result_backend_url=os.environ["RESULT_BACKEND_URL"],
)
celery.conf.task_default_queue = QUEUE
celery.set_default()
set_default_backend(RedisSagaBackend(url=os.environ["RESULT_BACKEND_URL"]))


def _in(service: str, function: Callable[..., Any], *given: Any) -> Any:
    with session(service) as own, own.begin():
        return function(own, *given)


@celery.task(name="saga.mark_user")
def mark_user(user_id: int, **_: Any) -> StepResponse:
    _in("users", business.mark_user, user_id)
    return StepResponse(output={}, compensation_data={"user_id": user_id})


@celery.task(name="saga.unmark_user")
def unmark_user(data: dict[str, Any]) -> None:
    _in("users", business.unmark_user, data["user_id"])


def _cancel(own: Session, user_id: int) -> dict[str, Any]:
    orders = business.open_orders_of(own, user_id)
    return {"orders": orders, **business.cancel_user_orders(own, user_id)}


@celery.task(name="saga.cancel_orders")
def cancel_orders(user_id: int, **_: Any) -> StepResponse:
    return StepResponse(output=_in("orders", _cancel, user_id))


@celery.task(name="saga.reopen_orders")
def reopen_orders(data: dict[str, Any]) -> None:
    _in("orders", business.reopen_orders, data["orders"])


@celery.task(name="saga.restock")
def restock(quantities: list[list[int]], **_: Any) -> StepResponse:
    _in("products", business.restock, quantities)
    return StepResponse(output={}, compensation_data={"quantities": quantities})


@celery.task(name="saga.take_back")
def take_back(data: dict[str, Any]) -> None:
    _in("products", business.take_back, data["quantities"])


@celery.task(name="saga.delete_user")
def delete_user(user_id: int, **_: Any) -> StepResponse:
    _in("users", business.delete_user, user_id)
    return StepResponse(output={})


remove_user = (
    Saga("remove_user")
    .add_step(mark_user, compensate=unmark_user)
    .add_step(cancel_orders, compensate=reopen_orders)
    .add_step(restock, compensate=take_back)
    .add_step(delete_user, no_compensation=True)
)
