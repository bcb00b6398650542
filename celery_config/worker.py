"""What a worker process does beside running tasks."""

from __future__ import annotations

import logging
from typing import Any

from celery import Celery
from celery.signals import after_setup_logger, worker_ready, worker_shutting_down

from atomic_commit import AtomicCommit
from atomic_commit.testing.failpoints import connect_worker_failpoints
from celery_config.expired import tell_of_the_expired
from celery_config.heartbeat import beat_while_consuming


def run_sweeper_in_outcome_workers(celery: Celery, atomic: AtomicCommit) -> None:
    """Start recovery in every worker of `celery` that reads the service's outcome queue, and end it with the worker."""
    connect_worker_failpoints()
    tell_of_the_expired()
    beat_while_consuming(celery, lambda: atomic.sweeper.is_well() and atomic.clock.is_well())

    @worker_ready.connect(weak=False)
    def start(sender: Any, **_: Any) -> None:
        atomic.clock.start()
        if atomic.installation.outcome_queue(atomic.service) in sender.app.amqp.queues.consume_from:
            atomic.sweeper.start()

    @worker_shutting_down.connect(weak=False)
    def stop(**_: Any) -> None:
        atomic.sweeper.stop()
        atomic.clock.stop()


@after_setup_logger.connect(weak=False)
def one_line_a_task(**_: Any) -> None:
    """A task is logged when it ends, with how it ended; that it was received is then clear."""
    logging.getLogger("celery.worker.strategy").setLevel(logging.WARNING)
