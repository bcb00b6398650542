"""A sign of life for whoever watches a worker from outside: a file that is touched for as long as it takes tasks.

The file's age is the whole check, so it costs next to nothing and needs no broker: `celery inspect ping` would start a
Python process with all its imports for every look, and would ask the broker about the worker.

It is the worker's own loop that touches the file, the one that fetches messages. A worker that hangs, is frozen, or has
lost its broker does not get there, and the file grows old.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from celery import Celery, bootsteps

#: Seconds between two touches.
INTERVAL = 2.0


def beat_while_consuming(celery: Celery, is_well: Callable[[], bool]) -> None:
    """Touch the file that ``HEARTBEAT_FILE`` names, if it names one, while the workers of `celery` take tasks and
    `is_well` says so of what else they do."""
    name = os.environ.get("HEARTBEAT_FILE")
    if not name:
        return
    file = Path(name)

    def beat(consumer: Any) -> None:
        if consumer.task_consumer and consumer.task_consumer.queues and is_well():
            file.touch()

    class Heartbeat(bootsteps.StartStopStep):  # type: ignore[misc]  # Celery has no types
        """Started with each connection to the broker; its timer lives as long as the loop on that connection."""

        requires = ("celery.worker.consumer.tasks:Tasks",)

        def start(self, consumer: Any) -> None:
            consumer.timer.call_after(0, beat, (consumer,))
            consumer.timer.call_repeatedly(INTERVAL, beat, (consumer,))

    celery.steps["consumer"].add(Heartbeat)
