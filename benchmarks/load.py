"""Clients, in processes of their own so that the harness sees what they cost.

A `Caller` knows how to ask for one thing; a `Load` is many such things, asked for by so many clients at once (each
waits for its answer before it asks again), or at moments of a Poisson process, whether or not the ones before are
answered: then latency counts from the moment at which it was due, so that a queue of clients shows.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import random
import resource
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, NamedTuple, Protocol

_READY_WITHIN = 60.0


class Caller(Protocol):
    """Picklable. `open` is called once in each client and gives the function that asks and returns what was answered:
    a word, the same for the same kind of answer."""

    def open(self) -> Callable[[Any], str]: ...


@dataclass(frozen=True)
class Load:
    """What is asked for, by how many, and how fast."""

    caller: Caller
    #: each is asked for once
    items: Sequence[Any]
    #: that ask at the same time, in all processes together
    clients: int
    #: that share the clients
    processes: int = 1
    #: requests a second; None: as fast as they are answered
    rate: float | None = None
    #: after so many nothing more is asked for; None: until all is
    seconds: float | None = None


class Answer(NamedTuple):
    """Moments of the monotonic clock, which all processes of a machine share."""

    due: float
    ended: float
    #: the caller's word for the kind of answer
    what: str


@dataclass(frozen=True)
class Done:
    answers: list[Answer]
    #: seconds of processor time that the clients took while they asked
    cpu: float

    @property
    def began(self) -> float:
        return min(answer.due for answer in self.answers)

    @property
    def ended(self) -> float:
        return max(answer.ended for answer in self.answers)

    @property
    def latencies(self) -> list[float]:
        return [answer.ended - answer.due for answer in self.answers]

    @property
    def words(self) -> Counter[str]:
        return Counter(answer.what for answer in self.answers)


def run(load: Load) -> Done:
    """Ask for everything and return when all is answered. Raises what a client raised."""
    context = multiprocessing.get_context("spawn")
    offsets = _offsets(len(load.items), load.rate)
    work = list(zip(offsets, load.items, strict=True))
    clients, children = max(1, load.clients // load.processes), []
    for number in range(load.processes):
        ours, theirs = context.Pipe()
        share = work[number :: load.processes]
        child = context.Process(target=_clients, args=(load.caller, share, clients, load.seconds, theirs), daemon=True)
        child.start()
        children.append((child, ours))
    try:
        for _, pipe in children:
            _received(pipe)  # all are connected
        start = time.monotonic() + 0.1
        for _, pipe in children:
            pipe.send(start)
        told = [_received(pipe) for _, pipe in children]
    finally:
        for child, _ in children:
            child.join(5)
            child.kill()
    answers = [Answer(*answer) for answers, _ in told for answer in answers]
    return Done(answers, sum(cpu for _, cpu in told))


def _received(pipe: Connection) -> Any:
    what = pipe.recv()
    if isinstance(what, BaseException):
        raise what
    return what


def _offsets(count: int, rate: float | None) -> list[float | None]:
    """Seconds after the start at which each is due; None: when a client is free."""
    if rate is None:
        return [None] * count
    chance, at, found = random.Random(1), 0.0, []
    for _ in range(count):
        at += chance.expovariate(rate)
        found.append(at)
    return list(found)


# ---- in the process of the clients


def _clients(
    caller: Caller, work: list[tuple[float | None, Any]], clients: int, seconds: float | None, pipe: Connection
) -> None:
    try:
        opened = [caller.open() for _ in range(clients)]
        pipe.send("ready")
        start, waiting, answers, errors = pipe.recv(), deque(work), [], []
        before = _own_cpu()
        end = math.inf if seconds is None else start + seconds
        threads = [
            threading.Thread(target=_client, args=(ask, start, end, waiting, answers, errors), daemon=True)
            for ask in opened
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        pipe.send(errors[0] if errors else (answers, _own_cpu() - before))
    except Exception as error:
        pipe.send(RuntimeError(f"{type(error).__name__}: {error}"))


def _client(
    ask: Callable[[Any], str],
    start: float,
    end: float,
    waiting: deque[tuple[float | None, Any]],
    answers: list[tuple[float, float, str]],
    errors: list[Exception],
) -> None:
    time.sleep(max(0.0, start - time.monotonic()))
    while not errors and time.monotonic() < end:
        try:
            offset, item = waiting.popleft()
        except IndexError:
            return
        due = time.monotonic() if offset is None else start + offset
        time.sleep(max(0.0, due - time.monotonic()))
        try:
            what = ask(item)
        except Exception as error:
            errors.append(RuntimeError(f"{item}: {type(error).__name__}: {error}"))
            return
        answers.append((due, time.monotonic(), what))


def _own_cpu() -> float:
    spent = resource.getrusage(resource.RUSAGE_SELF)
    return spent.ru_utime + spent.ru_stime


# ---- over HTTP


@dataclass(frozen=True)
class Http:
    """Requests as (method, path, JSON body or None) on one kept connection a client. The answer's word is its status.

    By hand: the standard library's client spends more time on parsing headers than some contenders on the work.
    """

    host: str
    port: int
    #: the value of the header Prefer
    prefer: str = "wait=30"

    def open(self) -> Callable[[tuple[str, str, Any]], str]:
        connection = _Connection(self)
        return connection.ask


class _Connection:
    def __init__(self, to: Http) -> None:
        self._to = to
        self._socket = socket.create_connection((to.host, to.port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, item: tuple[str, str, Any]) -> str:
        method, path, content = item
        body = b"" if content is None else json.dumps(content).encode()
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: {self._to.host}\r\nPrefer: {self._to.prefer}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self._socket.sendall(head.encode() + body)
        return self._answer()

    def _answer(self) -> str:
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._more()
        head, _, body = data.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        missing = int(headers["content-length"]) - len(body)
        while missing > 0:
            missing -= len(self._more())
        if headers.get("connection", "").lower() == "close":
            raise ConnectionError("the server does not keep connections")
        return first.split()[1]

    def _more(self) -> bytes:
        data = self._socket.recv(65536)
        if not data:
            raise ConnectionError("closed by the server")
        return data
