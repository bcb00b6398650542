"""Whatever happens to a task in a thread of the pool is answered to the worker, or its place would be lost for ever."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from celery.concurrency import get_implementation

from atomic_commit.workers.pool import AnsweringTaskPool
from celery_config import create_celery


@pytest.fixture
def pool() -> Iterator[AnsweringTaskPool]:
    pool = AnsweringTaskPool(limit=1)
    pool.start()
    yield pool
    pool.stop()


def answer_to(pool: AnsweringTaskPool, target: Any) -> Any:
    """What the worker is told of the task."""
    answers: list[Any] = []
    pool.apply_async(target, callback=answers.append, accept_callback=lambda pid, time: None).get(5)
    assert len(answers) == 1
    return answers[0]


def test_a_task_whose_result_could_not_be_stored_is_answered_as_a_failure(pool: AnsweringTaskPool) -> None:
    def cannot_be_stored() -> None:
        raise TimeoutError("Timeout reading from socket")

    failed, what, _ = answer_to(pool, cannot_be_stored)
    assert failed
    assert "Timeout reading from socket" in str(what.exception)


def test_every_other_answer_is_passed_on_as_it_is(pool: AnsweringTaskPool) -> None:
    assert answer_to(pool, lambda: (0, "'committed'", 0.01)) == (0, "'committed'", 0.01)


def test_the_services_workers_use_it() -> None:
    assert get_implementation(create_celery("users").conf.worker_pool) is AnsweringTaskPool
