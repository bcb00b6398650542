"""Messages that no worker could read are kept where a person finds them: ``python -m <service> unreadable``.

The shelf is a list beside the results (Redis), shared by the installation, of the newest thousand. It is evidence, not
work: nothing reads it but people, and a message that is lost is repaired by the rows of the journal. So a shelf that
can't be reached makes nobody wait; what was to be kept there is in the log then.
"""

from __future__ import annotations

import base64
import json
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from celery import Celery
from celery.utils.log import get_logger

from atomic_commit.names import Installation
from atomic_commit.workers.message_form import Malformed
from atomic_commit.workers.seldom import Seldom

log = get_logger(__name__)

#: Messages that are kept, and bytes that are kept of one.
KEPT = 1_000
_BYTES = 16_384
#: Messages that may be on their way to the shelf; beyond that they are counted and logged only.
_ON_THE_WAY = 256
#: Seconds without another try after the shelf could not be reached.
_PAUSE = 10.0


def shelf_key(installation: Installation) -> str:
    return f"{installation}.unreadable"


class Shelf:
    """Where one worker keeps what it can't read. Its methods return at once and never raise."""

    def __init__(self, celery: Celery, installation: Installation, worker: str) -> None:
        self._backend, self._key, self._worker = celery.backend, shelf_key(installation), worker
        self._way: queue.Queue[tuple[dict[str, Any], Callable[[], object]]] = queue.Queue(_ON_THE_WAY)
        self._seldom, self._rest_until = Seldom(), 0.0
        self._only_counted: Counter[str] = Counter()
        threading.Thread(target=self._carry, name="unreadable", daemon=True).start()

    def keep(self, message: Any, malformed: Malformed, then: Callable[[], object] = lambda: None) -> None:
        """Keep a message; `then`, which acknowledges it, is called when it is kept, or can't be."""
        where = message.delivery_info.get("routing_key") if isinstance(message.delivery_info, dict) else None
        self._keep(str(where), message.body, malformed, then, headers=message.headers)

    def keep_copy(self, message: Any, queue: str, malformed: Malformed) -> None:
        """Keep a message that needs no acknowledgement."""
        self._keep(queue, getattr(message, "body", b""), malformed, lambda: None, getattr(message, "headers", None))

    def keep_raw(self, queue: str, item: object, malformed: Malformed) -> None:
        """Keep what is not even a message."""
        self._keep(queue, item, malformed, lambda: None)

    def _keep(
        self, queue_name: str, body: object, malformed: Malformed, then: Callable[[], object], headers: object = None
    ) -> None:
        record = _record(self._worker, queue_name, body, malformed, headers)
        if self._seldom.now((queue_name, malformed.reason)):
            log.warning("a message in %s can't be read and is kept: %s", queue_name, _line(record))
        try:
            self._way.put_nowait((record, then))
        except queue.Full:
            self._only_counted[malformed.reason] += 1
            then()

    def _carry(self) -> None:
        while True:
            record, then = self._way.get()
            try:
                self._store(record)
            finally:
                then()

    def _store(self, record: dict[str, Any]) -> None:
        client = getattr(self._backend, "client", None)  # a result backend of another kind has no list
        if client is None or time.monotonic() < self._rest_until:
            return
        counted, self._only_counted = self._only_counted, Counter()
        try:
            with client.pipeline() as together:
                together.lpush(self._key, json.dumps(record))
                together.ltrim(self._key, 0, KEPT - 1)
                for reason, count in (counted + Counter([record["reason"]])).items():
                    together.hincrby(f"{self._key}.counts", reason, count)
                together.execute()
        except Exception as error:  # the client's own kinds
            self._rest_until = time.monotonic() + _PAUSE
            if self._seldom.now("away"):
                log.warning("what can't be read can't be kept either: %s; lost: %s", error, _line(record))


def read_kept(celery: Celery, installation: Installation, limit: int) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """The newest on the shelf, the newest first, and how many there ever were of each reason. Raises what the client of
    the result backend raises."""
    client, key = celery.backend.client, shelf_key(installation)
    counts = {name.decode(): int(count) for name, count in client.hgetall(f"{key}.counts").items()}
    return [json.loads(item) for item in client.lrange(key, 0, limit - 1)], counts


def clear(celery: Celery, installation: Installation) -> None:
    """Forget what is on the shelf, and the counts."""
    key = shelf_key(installation)
    celery.backend.client.delete(key, f"{key}.counts")


def _record(worker: str, queue_name: str, body: object, malformed: Malformed, headers: object) -> dict[str, Any]:
    raw = _bytes(body)
    return {
        "at": datetime.now(UTC).isoformat(),
        "worker": worker,
        "queue": queue_name,
        "reason": malformed.reason,
        "detail": str(malformed),
        "size": len(raw),
        "body": base64.b64encode(raw[:_BYTES]).decode(),
        "headers": _text(headers),
    }


def _line(record: dict[str, Any]) -> str:
    return f"{record['reason']}: {record['detail']}; {record['size']} bytes: {base64.b64decode(record['body'])[:200]!r}"


def _bytes(body: object) -> bytes:
    if isinstance(body, bytes | bytearray | memoryview):
        return bytes(body)
    return _text(body).encode("utf-8", "backslashreplace")


def _text(value: object) -> str:
    try:
        return value if isinstance(value, str) else repr(value)[:_BYTES]
    except RecursionError:
        return "nested too deep"
