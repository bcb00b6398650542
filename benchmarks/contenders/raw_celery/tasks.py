"""The empty task and its Celery app: `celery -A benchmarks.contenders.raw_celery.tasks`."""

from __future__ import annotations

import os

from celery import Celery, chain
from celery.canvas import Signature

import atomic_commit.workers.at_work  # noqa: F401  (its logging: a line a task)
from atomic_commit import configure
from benchmarks.installation import BENCHMARK
from celery_config.manifest import SERVICES

#: The messages of one removal: two branches, decide, an outcome and its answer for each branch.
QUEUES = (
    *(BENCHMARK.branch_queue("orders"), BENCHMARK.branch_queue("products")),
    *(BENCHMARK.outcome_queue(service) for service in ("users", "orders", "users", "products", "users")),
)
#: Branches and decide keep their results; here the last link too, so that the client can wait for it.
_KEEP_RESULTS = 3

celery = Celery("raw_celery", set_as_current=False)
configure(
    celery,
    installation=BENCHMARK,
    service="users",
    services=SERVICES,
    broker_url=os.environ["BROKER_URL"],
    result_backend_url=os.environ["RESULT_BACKEND_URL"],
)


@celery.task(name="raw.nothing")
def nothing() -> None:
    pass


def links() -> Signature:
    last = len(QUEUES) - 1
    return chain(
        nothing.si().set(queue=queue, ignore_result=_KEEP_RESULTS <= place < last) for place, queue in enumerate(QUEUES)
    )
