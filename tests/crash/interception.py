"""The post between the services and their workers: every message passes through here, and may be kept, repeated, put
in another order, or thrown away.

Nothing of the product is patched. The workers, which have to run with ``WORKER_REMOTE_CONTROL=all``, are told by
Celery's remote control to read other queues (``orders.delivered`` instead of ``orders``); a thread carries what is
published from the one to the other, body, headers and properties as they are. A message that a case has asked for is
kept in a tray instead, and is delivered when and as often as the case says.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from celery import Celery
from kombu import Connection, Consumer, Exchange, Producer, Queue
from kombu.message import Message

from atomic_commit.names import Gid
from atomic_commit.workers.queues import declared_queues
from celery_config import create_celery
from celery_config.manifest import SERVICES
from tests.broker.waiting import wait_until
from tests.installation import INSTALLATION, QUEUE_NAMES

#: What kombu sets for every delivery by itself, or from fields of ours.
_MADE_ANEW = frozenset(
    {"delivery_info", "delivery_tag", "body_encoding", "content_type", "content_encoding", "application_headers"}
)
#: Seconds between two looks of the carrier at whether it should end.
_TURN = 0.2
#: Seconds that a message may take to come by, and that a worker may take to follow an instruction.
_COMES_WITHIN = 30.0


@dataclass(frozen=True, eq=False)
class Intercepted:
    """One message as it was published to `queue`."""

    queue: str
    body: bytes
    headers: dict[str, Any]
    properties: dict[str, Any]
    #: Seconds, as kombu's `publish` takes them; on the wire they are milliseconds in a string.
    expires_in: float | None
    content_type: str
    content_encoding: str

    @classmethod
    def of(cls, message: Message) -> Intercepted:
        properties = {name: value for name, value in message.properties.items() if name not in _MADE_ANEW}
        expiration = properties.pop("expiration", None)
        return cls(
            queue=message.delivery_info["routing_key"],
            body=message.body if isinstance(message.body, bytes) else str(message.body).encode(),
            headers=dict(message.headers),
            properties=properties,
            expires_in=None if expiration is None else int(expiration) / 1000,
            content_type=message.content_type,
            content_encoding=message.content_encoding,
        )

    @property
    def task(self) -> str:
        """Without what the installation's task names begin with: ``products.restock``."""
        return str(self.headers["task"]).removeprefix(f"{INSTALLATION}.")

    @property
    def task_id(self) -> str:
        return str(self.headers["id"])

    @property
    def arguments(self) -> dict[str, Any]:
        """The keyword arguments: of branches, outcomes and answers the gid, of others transaction and attempt."""
        return dict(json.loads(self.body)[1])

    @property
    def gid(self) -> Gid | None:
        """Of the branch that it is about, if it is about one."""
        return Gid.parse(self.arguments["gid"]) if "gid" in self.arguments else None

    @property
    def transaction(self) -> str:
        return str(self.gid.transaction) if self.gid else str(self.arguments["transaction"])

    @property
    def attempt(self) -> int:
        return self.gid.attempt if self.gid else int(self.arguments["attempt"])

    @property
    def branch(self) -> str | None:
        return self.gid.branch if self.gid else None

    def __str__(self) -> str:
        return f"{self.task}[{self.task_id}]"


Wanted = Callable[[Intercepted], bool]


@dataclass
class Tray:
    """Messages that were asked for and have not been delivered; at most `limit` are kept, further ones pass."""

    wanted: Wanted
    limit: int | None = None
    messages: list[Intercepted] = field(default_factory=list)

    def takes(self, message: Intercepted) -> bool:
        if (self.limit is not None and len(self.messages) >= self.limit) or not self.wanted(message):
            return False
        self.messages.append(message)
        return True


class Post:
    """Stands between all services and all workers of a running shop while the block runs: ``with Post(…) as post``."""

    def __init__(self, broker_url: str, result_backend_url: str) -> None:
        self._url = broker_url
        self._celery: Celery = create_celery("post", INSTALLATION)
        self._celery.conf.update(broker_url=broker_url, result_backend=result_backend_url)
        #: How often each message that passes is delivered.
        self.times = 1
        self._lock = threading.Lock()
        self._trays: list[Tray] = []
        self._seen: list[Intercepted] = []
        self._delivered: Counter[tuple[str, str, str]] = Counter()
        self._sender = Connection(broker_url)
        self._end = threading.Event()
        self._failure: BaseException | None = None
        self._carrier = threading.Thread(target=self._run, name="post", daemon=True)

    def __enter__(self) -> Self:
        workers = self._workers()
        for queue, worker in workers.items():
            self._tell("add_consumer", worker, queue=_way(queue), **self._kind_of_queue())
            self._tell("cancel_consumer", worker, queue=queue)
        for queue, worker in workers.items():
            wait_until(lambda q=queue, w=worker: self._reads(w) == {_way(q)}, f"{worker} reads what is delivered")
        self._carrier.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """What still lies in a tray is lost; what was delivered is read to its end; then all is as before."""
        self._end.set()
        self._carrier.join(timeout=_COMES_WITHIN)
        for queue, worker in self._workers().items():
            self._tell("add_consumer", worker, queue=queue)
            wait_until(lambda q=queue: not self._waiting(_way(q)), f"what was delivered to {queue} is read")
            self._tell("cancel_consumer", worker, queue=_way(queue))
            wait_until(lambda q=queue, w=worker: self._reads(w) == {q}, f"{worker} reads its own queue again")
            with Connection(self._url) as connection:
                connection.default_channel.queue_delete(_way(queue))
        self._sender.release()
        self._celery.close()

    # ---- what a case does

    def catch(self, wanted: Wanted, limit: int | None = None) -> Tray:
        """Keep such messages from now on: in the tray, undelivered."""
        tray = Tray(wanted, limit)
        with self._lock:
            self._trays.append(tray)
        return tray

    def first(self, tray: Tray) -> Intercepted:
        """The first message in the tray, once it is there."""
        wait_until(lambda: self._sound() and tray.messages, "the message that is waited for comes by", _COMES_WITHIN)
        return tray.messages[0]

    def let_pass(self) -> None:
        """Catch no more, and deliver everything once. What lies in trays stays there."""
        with self._lock:
            self._trays, self.times = [], 1

    def deliver(self, *messages: Intercepted, times: int = 1) -> None:
        """Deliver these messages, in this order, each so many times in a row."""
        with self._lock:
            for message in messages:
                for _ in range(times):
                    self._send(message)

    def seen(self, wanted: Wanted) -> list[Intercepted]:
        """Every such message that came by, in order."""
        self._sound()
        with self._lock:
            return [message for message in self._seen if wanted(message)]

    def delivered(self, transaction: str) -> dict[tuple[str, str, str], int]:
        """(queue, task, task id) → how often it was delivered, for one transaction."""
        with self._lock:
            return {which: count for which, count in self._delivered.items() if transaction in which[-1]}

    def _sound(self) -> bool:
        """True, or AssertionError where the thread that carries has failed."""
        if self._failure:
            raise AssertionError("the post has failed") from self._failure
        return True

    # ---- how it carries

    def _run(self) -> None:
        try:
            with Connection(self._url) as connection:
                queues = declared_queues(INSTALLATION, SERVICES, self._url)
                with Consumer(connection, queues, on_message=self._carry):
                    while not self._end.is_set():
                        try:
                            connection.drain_events(timeout=_TURN)
                        except TimeoutError:
                            continue
        except BaseException as error:
            self._failure = error
            raise

    def _carry(self, delivered: Message) -> None:
        message = Intercepted.of(delivered)
        with self._lock:
            self._seen.append(message)
            if not any(tray.takes(message) for tray in self._trays):
                for _ in range(self.times):
                    self._send(message)
        delivered.ack()

    def _send(self, message: Intercepted) -> None:
        """On a connection that nothing is read from: where py-amqp publishes it also reads what has come in, and on the
        carrier's own connection that would be the next message, in the middle of this one."""
        self._delivered[message.queue, message.task, message.task_id] += 1
        Producer(self._sender.default_channel).publish(
            message.body,
            routing_key=_way(message.queue),
            headers=message.headers,
            content_type=message.content_type,
            content_encoding=message.content_encoding,
            expiration=message.expires_in,
            **message.properties,
        )

    # ---- how the workers are told

    def _workers(self) -> dict[str, str]:
        """Queue → the name of the worker that belongs to it."""

        def found() -> dict[str, str] | None:
            names = [name for answer in self._celery.control.ping(timeout=1) for name in answer]
            workers = {queue: name for queue in QUEUE_NAMES for name in names if name.startswith(f"{queue}@")}
            return workers if len(workers) == len(QUEUE_NAMES) else None

        return wait_until(found, "all workers answer", _COMES_WITHIN)

    def _tell(self, what: str, worker: str, **arguments: Any) -> None:
        answers = self._celery.control.broadcast(
            what, arguments=arguments, destination=[worker], reply=True, limit=1, timeout=_COMES_WITHIN
        )
        assert answers, f"{worker} does not answer"
        assert "ok" in answers[0][worker], f"{worker} was told to {what} {arguments}: {answers}"

    def _reads(self, worker: str) -> set[str]:
        answers = self._celery.control.broadcast(
            "active_queues", destination=[worker], reply=True, limit=1, timeout=_COMES_WITHIN
        )
        return {queue["name"] for queue in answers[0][worker]} if answers else set()

    def _kind_of_queue(self) -> dict[str, Any]:
        arguments = declared_queues(INSTALLATION, SERVICES, self._url)[0].queue_arguments
        return {"queue_arguments": arguments} if arguments else {}

    def _waiting(self, name: str) -> int:
        """How many messages wait in a queue."""
        with Connection(self._url) as connection:
            queue = Queue(name, Exchange(name, type="direct"), routing_key=name, **self._kind_of_queue())
            return int(queue.bind(connection.default_channel).queue_declare().message_count)


def _way(queue: str) -> str:
    """The queue that its worker reads while the post is between."""
    return f"{queue}.delivered"
