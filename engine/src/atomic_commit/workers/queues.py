"""Every queue of an application, declared once.

Two a service: ``shop.main.<service>`` for branches, ``shop.main.<service>.outcome`` for decide, commit, rollback and
acknowledge, each read by a worker process of its own. (``main`` is the installation: others may share the broker.)
Messages are routed by queue name alone (the anonymous exchange): Redis keeps the bindings of named exchanges as data,
and after a FLUSHALL it would drop what is published to them without a word.
"""

from __future__ import annotations

from collections.abc import Iterable

from kombu import Exchange, Queue

from atomic_commit.names import Installation


def queue_names(installation: Installation, services: Iterable[str]) -> tuple[str, ...]:
    """Every queue that these services of an installation read."""
    return tuple(
        queue(service) for service in services for queue in (installation.branch_queue, installation.outcome_queue)
    )


def declared_queues(installation: Installation, services: Iterable[str], broker_url: str) -> list[Queue]:
    """The queues as kombu declares them. On RabbitMQ they are quorum queues: replicated, and safe through a restart."""
    arguments = {"x-queue-type": "quorum"} if broker_url.startswith(("amqp", "pyamqp")) else None
    return [
        Queue(name, Exchange(name, type="direct"), routing_key=name, queue_arguments=arguments)
        for name in queue_names(installation, services)
    ]
