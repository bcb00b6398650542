"""What workers do when they are told something by remote control: answer questions, and nothing that can only harm.

``celery control`` and Flower's buttons reach every worker, whoever presses them. A task that is revoked, a rate limit
or a queue that is no longer read would keep a committed branch prepared, and its rows locked, until the worker is
started again. So a worker does what is listed here; whatever else it is told it refuses, with an answer that says why.
"""

from __future__ import annotations

import os
from typing import Any

from celery.utils.log import get_logger
from kombu import pidbox

from atomic_commit.workers.message_form import Malformed, assert_instruction
from atomic_commit.workers.seldom import Seldom
from atomic_commit.workers.unreadable import Shelf

log = get_logger(__name__)

#: Questions, none of which changes anything; ``enable_events`` and ``heartbeat``, by which Flower sees more.
ANSWERED = frozenset(
    {
        "active",
        "active_queues",
        "clock",
        "conf",
        "enable_events",
        "heartbeat",
        "ping",
        "query_task",
        "registered",
        "report",
        "reserved",
        "revoked",
        "scheduled",
        "stats",
        *("dump_active", "dump_conf", "dump_reserved", "dump_revoked", "dump_schedule", "dump_tasks"),  # other names
    }
)

#: ``all``: workers obey everything. For tests that put themselves between workers and their queues.
VARIABLE = "WORKER_REMOTE_CONTROL"

_INSTEAD = (
    "refused: this worker answers questions by remote control and changes nothing; stop or scale its process instead,"
    " and see `python -m <service> transactions` for what is not settled"
)


def answers_only() -> bool:
    """Whether workers of this process refuse what is not in `ANSWERED`."""
    return os.environ.get(VARIABLE) != "all"


def node_class(shelf: Shelf) -> type[pidbox.Node]:
    """The end of the mailbox at which a worker reads its instructions; `shelf` keeps those that can't be read."""
    seldom = Seldom()

    class AnsweringNode(pidbox.Node):  # type: ignore[misc]  # kombu has no types
        def handle_message(self, body: Any, message: Any = None) -> Any:
            try:
                assert_instruction(body, message.headers if message else {}, self.mailbox.reply_exchange.name)
            except Malformed as malformed:
                return shelf.keep_copy(message, self.mailbox.exchange.name, malformed)
            return super().handle_message(body, message)

        def handle(self, method: str, arguments: Any = None) -> Any:
            if method in ANSWERED or not answers_only():
                return super().handle(method, arguments)
            if seldom.now(method):
                log.warning("remote control: %s %s", method[:80], _INSTEAD)
            return {"error": f"{method[:80]}: {_INSTEAD}"}

    return AnsweringNode
