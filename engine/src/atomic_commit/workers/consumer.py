"""The part of a worker that reads: nothing that it can't read ends it, or comes back.

What is not of the form (``message_form``) is kept for a person (``unreadable``), acknowledged, and over. It is looked
at in three places: the element of a list on Redis, before kombu takes it apart; a task's message, before Celery does;
and an instruction of remote control.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

from celery.utils.log import get_logger
from celery.worker.consumer import Consumer
from kombu.transport import redis

from atomic_commit.names import Installation
from atomic_commit.workers.message_form import Malformed, assert_envelope, assert_task
from atomic_commit.workers.remote_control import node_class
from atomic_commit.workers.unreadable import Shelf

_log = get_logger(__name__)


class ReadingConsumer(Consumer):  # type: ignore[misc]  # Celery has no types
    """Celery's consumer, which keeps what it can't read for a person."""

    def __init__(self, *given: Any, app: Any, hostname: str, **named: Any) -> None:
        self.shelf = Shelf(app, Installation.parse(app.conf.atomic_installation), hostname)
        app.control.mailbox.node_cls = node_class(self.shelf)
        super().__init__(*given, app=app, hostname=hostname, **named)

    def ensure_connected(self, conn: Any) -> Any:
        if isinstance(conn.transport, redis.Transport):
            # Before the first channel is made. Of this connection alone: nobody else reads queues.
            conn.transport.Channel = _channel_class(conn.transport.Channel, self.shelf)
        return super().ensure_connected(conn)

    def create_task_handler(self, *given: Any, **named: Any) -> Callable[[Any], None]:
        receive = super().create_task_handler(*given, **named)

        def read(message: Any) -> None:
            try:
                assert_task(message, self.strategies)
            except Malformed as malformed:
                self._keep(message, malformed)
                return
            try:
                receive(message)
            except (*self.connection_errors, *self.channel_errors) as error:
                # On Redis a KeyError is among them; here it tells of a field that is missing.
                if not isinstance(error, KeyError):
                    raise
                self._keep(message, Malformed("not understood", repr(error)))
            except Exception as error:
                self._keep(message, Malformed("not understood", repr(error)))

        return read

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        self._keep(message, Malformed("content", repr(exc)))

    def _keep(self, message: Any, malformed: Malformed) -> None:
        self.shelf.keep(message, malformed, then=lambda: self.call_soon(self._acknowledge, message))

    def _acknowledge(self, message: Any) -> None:
        if not message.acknowledged:
            message.ack_log_error(_log, self.connection_errors)


def _channel_class(base: type[redis.Channel], shelf: Shelf) -> type[redis.Channel]:
    class ReadingChannel(base):  # type: ignore[misc]  # kombu has no types
        """kombu's channel, which takes apart only what is an envelope."""

        def _create_client(self, asynchronous: bool = False) -> Any:
            client = super()._create_client(asynchronous)
            parse = client.parse_response

            def parse_response(connection: Any, command: str, **options: Any) -> Any:
                answer = parse(connection, command, **options)
                # None, as if the time had run out: kombu then asks again.
                return answer if command != "BRPOP" or not answer or self._is_readable(*answer) else None

            client.parse_response = parse_response
            return client

        @cached_property
        def subclient(self) -> Any:
            client = super()._create_client(asynchronous=True).pubsub()
            parse = client.parse_response

            def parse_response(*given: Any, **named: Any) -> Any:
                answer = parse(*given, **named)
                if answer and bytes(answer[0]).endswith(b"message") and not self._is_readable(*answer[-2:]):
                    answer[-1] = None  # which kombu passes over
                return answer

            client.parse_response = parse_response
            return client

        def _is_readable(self, key: bytes, item: bytes) -> bool:
            """Whether it is an envelope. If it is not it has been kept for a person."""
            try:
                assert_envelope(item)
            except Malformed as malformed:
                shelf.keep_raw(key.decode(errors="replace").rsplit(self.sep, 1)[0], item, malformed)
                return False
            return True

    return ReadingChannel
