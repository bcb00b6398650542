"""Delivery settings, each with its reason.

None of them makes the protocol correct: that is the rows' work. They make it quick: fewer lost and repeated messages,
and no wait without an end.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from celery import Celery

from atomic_commit.limits import Limits
from atomic_commit.names import Installation
from atomic_commit.workers.queues import declared_queues

#: Seconds after which Redis gives a message that was taken and not acknowledged to somebody else. Longer than any
#: branch may take (statements are bounded by statement_timeout), short enough that a killed worker's messages come
#: back soon.
VISIBILITY_TIMEOUT = 60

#: Seconds for which a result is kept after the deadline of its transaction.
KEPT_AFTER_DEADLINE = 300.0


def configure(
    celery: Celery,
    *,
    installation: Installation,
    service: str,
    services: Sequence[str],
    broker_url: str,
    result_backend_url: str,
    limits: Limits | None = None,
) -> Celery:
    """Make `celery` fit to carry the transactions of `service`: delivery, queues, threads, reading. Returns it.

    `services`: all that work together in this installation. `limits` default to what the
    environment says, and are those that ``AtomicCommit`` is given. Whatever else the app is for stays possible:
    `celery.conf` may be changed afterwards, where the reasons given here allow it.
    """
    limits = limits or Limits.from_environment()
    celery.conf.update(
        {
            "atomic_installation": str(installation),  # ours: what a worker goes by
            "atomic_services": tuple(services),  # ours: whom a command line asks
            "broker_url": broker_url,
            "result_backend": result_backend_url,
            "task_queues": declared_queues(installation, services, broker_url),
            "task_default_queue": installation.branch_queue(service),
            **_SERIALIZATION,
            **_DELIVERY,
            **_RESULTS,
            # A result is evidence for as long as its transaction is undecided. What people look at later stands in the
            # journal and in Flower; a day's results would need more memory than all else in that server.
            "result_expires": limits.deadline + KEPT_AFTER_DEADLINE,
            **_WORKER,
            **_apart_from_strangers(installation),
            "broker_transport_options": _transport_options(installation, service, broker_url),
        }
    )
    return celery


_SERIALIZATION = {
    # JSON only: a pickle from the broker would be code from the broker.
    "task_serializer": "json",
    "result_serializer": "json",
    "event_serializer": "json",
    "accept_content": ["json"],
    "result_accept_content": ["json"],
    "enable_utc": True,
    "timezone": "UTC",
}

_DELIVERY = {
    # Acknowledge after the work, so that a killed worker's message is delivered again.
    "task_acks_late": True,
    # A task that failed or timed out has answered: the journal decides about another attempt, not the broker.
    "task_acks_on_failure": True,
    "task_acks_on_timeout": True,
    # Applies to a prefork child that was killed: try again, but not for ever as task_reject_on_worker_lost would.
    "task_reject_on_worker_lost": False,
    "task_retry_on_worker_lost": True,
    # A publish may be tried once more, then recovery takes over; a request must not hang on a dead broker.
    "task_publish_retry": True,
    "task_publish_retry_policy": {
        "max_retries": 1,
        "interval_start": 0.1,
        "interval_step": 0.1,
        "interval_max": 0.2,
    },
    # Workers wait for a broker that is away, at their start too, and for as long as it takes. (kombu 5.7.0 may still
    # end a worker whose broker dies while it holds an unacknowledged message: keep them under a restart policy.)
    "broker_connection_retry": True,
    "broker_connection_retry_on_startup": True,
    "broker_connection_max_retries": None,
    "broker_channel_error_retry": True,
    "broker_connection_timeout": 3.0,
    # One connection a publishing thread at most; waiting for one is bounded (the default is to wait for ever).
    "broker_pool_limit": 16,
    "broker_pool_acquire_timeout": 3.0,
    "broker_heartbeat": 10,
}

_RESULTS = {
    "result_persistent": True,
    # Each is tried four times by redis-py.
    "redis_socket_connect_timeout": 1.0,
    "redis_socket_timeout": 1.0,
    "redis_socket_keepalive": True,
    "redis_backend_health_check_interval": 10,
    "result_backend_transport_options": {
        "visibility_timeout": VISIBILITY_TIMEOUT,
        # A result that can't be stored is silence; recovery deals with silence, so don't hold a worker slot for long.
        "retry_policy": {"max_retries": 2, "interval_start": 0.1, "interval_step": 0.2, "interval_max": 0.5},
    },
    "visibility_timeout": VISIBILITY_TIMEOUT,
}

_WORKER = {
    # Threads, not processes: the work waits for the database, and a thread that waits costs no memory. Ours, because
    # Celery's own lose their places to results that can't be stored.
    "worker_pool": "atomic_commit.workers.pool:AnsweringTaskPool",
    # Ours keeps what it can't read for a person; Celery's would end, or start again.
    "worker_consumer": "atomic_commit.workers.consumer:ReadingConsumer",
    # A limit that remote control sets would keep committed branches prepared. (It refuses, too: remote_control.py.)
    "worker_disable_rate_limits": True,
    # One waiting message for each slot: what a worker holds back, another can't take.
    "worker_prefetch_multiplier": 1,
    # A broken broker connection must not cancel a branch in the middle: its database transaction is what counts.
    "worker_cancel_long_running_tasks_on_connection_loss": False,
    # On SIGTERM finish what runs.
    "worker_soft_shutdown_timeout": 10.0,
    # Flower shows the tasks by these events.
    "worker_send_task_events": os.environ.get("TASK_EVENTS", "on") != "off",
    "task_send_sent_event": os.environ.get("TASK_EVENTS", "on") != "off",
    "worker_hijack_root_logger": True,
    "worker_redirect_stdouts": False,
    "worker_log_format": "%(asctime)s %(levelname)s %(name)s: %(message)s",
    "worker_task_log_format": "%(asctime)s %(levelname)s %(task_name)s: %(message)s",
}


def _apart_from_strangers(installation: Installation) -> dict[str, Any]:
    """What all Celery apps on one broker share by default: workers would answer, and obey, another installation's
    remote control, and its monitor would show our tasks."""
    return {
        "control_exchange": f"{installation}.control",
        "event_exchange": f"{installation}.events",
        "event_queue_prefix": f"{installation}.events",
    }


def _transport_options(installation: Installation, service: str, broker_url: str) -> dict[str, Any]:
    if not broker_url.startswith("redis"):
        # RabbitMQ: a publish counts when the broker has confirmed it, and every socket operation is bounded.
        return {"confirm_publish": True, "connect_timeout": 2, "read_timeout": 4, "write_timeout": 4}
    return {
        "visibility_timeout": VISIBILITY_TIMEOUT,
        # Look for messages of dead workers every 5 s (the default is about 100 s).
        "unacked_restore_interval": 5,
        "unacked_restore_throttle": 1,
        # The defaults are shared by all apps on one Redis database, and the shortest visibility timeout would hold for
        # all of them.
        "unacked_key": f"{installation}.{service}.unacked",
        "unacked_index_key": f"{installation}.{service}.unacked_index",
        "unacked_mutex_key": f"{installation}.{service}.unacked_mutex",
        # Without these a publish on a connection whose other end has vanished hangs for ever.
        # redis-py itself tries a command four times; a worker's blocking read lasts a second, so not less than this.
        "socket_timeout": 2.0,
        "socket_connect_timeout": 1.0,
        "socket_keepalive": True,
        "health_check_interval": 10,
        "max_connections": 64,
    }
