"""Every queue of the application, declared once.

Two a service: ``<service>`` for branches, ``<service>.outcome`` for decide, commit, rollback and acknowledge, each
read by a worker process of its own. Messages are routed by queue name alone (the anonymous exchange): Redis keeps the
bindings of named exchanges as data, and after a FLUSHALL it would drop what is published to them without a word.
"""

from __future__ import annotations

from kombu import Exchange, Queue

from atomic_commit.names import branch_queue, outcome_queue

SERVICES = ("users", "products", "orders")

QUEUE_NAMES = tuple(queue(service) for service in SERVICES for queue in (branch_queue, outcome_queue))


def declared_queues(broker_url: str) -> list[Queue]:
    """The queues as kombu declares them. On RabbitMQ they are quorum queues: replicated, and safe through a restart."""
    arguments = {"x-queue-type": "quorum"} if broker_url.startswith(("amqp", "pyamqp")) else None
    return [
        Queue(name, Exchange(name, type="direct"), routing_key=name, queue_arguments=arguments) for name in QUEUE_NAMES
    ]
