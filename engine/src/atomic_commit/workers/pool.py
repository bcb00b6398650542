"""The threads of a worker, none of which is ever lost to a result that could not be stored.

Celery stores a task's result, and where that fails it stores the failure. Where the result backend is away that fails
too, and the exception ends in a future that nobody reads: the message is never acknowledged, its place among those that
the worker may hold is never given back, and a worker that has lost every place takes no task until it is started again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from billiard.einfo import ExceptionInfo
from celery.concurrency.thread import ApplyResult, TaskPool

log = logging.getLogger(__name__)


class AnsweringTaskPool(TaskPool):  # type: ignore[misc]  # Celery has no types
    """Celery's pool of threads, in which whatever happens to a task is answered to the worker."""

    def on_apply(self, target: Callable[..., Any], *given: Any, **named: Any) -> ApplyResult:
        return super().on_apply(lambda *args, **kwargs: _answered(target, *args, **kwargs), *given, **named)


def _answered(target: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """What Celery's tracer returns; what it raises as the failure that it would return: (failed, exception, seconds).

    The failure is acknowledged like any other: the journal decides about another attempt.
    """
    try:
        return target(*args, **kwargs)
    except Exception as error:
        log.warning("a task's result could not be stored: %s: %s", type(error).__name__, error)
        return 1, ExceptionInfo(internal=True), 0.0
