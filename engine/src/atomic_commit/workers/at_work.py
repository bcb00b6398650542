"""What a worker process does beside running tasks."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from celery import Celery
from celery.signals import after_setup_logger, worker_ready, worker_shutting_down

from atomic_commit.testing.failpoints import connect_worker_failpoints
from atomic_commit.workers.expired import tell_of_the_expired
from atomic_commit.workers.heartbeat import beat_while_consuming
from atomic_commit.workers.repeated import Repeated

#: Seconds. What is forgotten in a fork of the database is known to within that time.
_WATCH_EVERY = 5.0

if TYPE_CHECKING:
    from atomic_commit.engine import AtomicCommit


def run_in_workers(celery: Celery, atomic: AtomicCommit) -> None:
    """From now on every worker of `celery` compares its clock with the database's and gives signs of life, and one that
    reads the service's outcome queue runs recovery and watches the database. Other processes that have the app, such
    as an API, run nothing."""
    watch = Repeated("watch", atomic.watch, _WATCH_EVERY)
    beat_while_consuming(celery, lambda: atomic.sweeper.is_well() and atomic.clock.is_well() and watch.is_well())

    @worker_ready.connect(weak=False)
    def start(sender: Any, **_: Any) -> None:
        if sender.app is not celery:
            return
        connect_worker_failpoints()
        tell_of_the_expired()
        atomic.clock.start()
        if atomic.installation.outcome_queue(atomic.service) in celery.amqp.queues.consume_from:
            atomic.sweeper.start()
            watch.start()

    @worker_shutting_down.connect(weak=False)
    def stop(**_: Any) -> None:
        watch.stop()
        atomic.sweeper.stop()
        atomic.clock.stop()


@after_setup_logger.connect(weak=False)
def one_line_a_task(**_: Any) -> None:
    """A task is logged when it ends, with how it ended; that it was received is then clear."""
    logging.getLogger("celery.worker.strategy").setLevel(logging.WARNING)
