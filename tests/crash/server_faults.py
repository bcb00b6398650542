"""The faults of servers and of the network, as ``servers`` does them one after the other."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import psycopg2
from redis import Redis

from celery_config.manifest import SERVICES

from .faults import wipe_redis
from .stage import Fault, Stage

ROLES = ("api", "worker", "outcome-worker")
SERVERS = ("database", "broker", "results")
#: Seconds each way; a round trip is still shorter than the time limits of broker and result backend.
DELAY = 0.7
_TOO_MANY_PREPARED = "53200"

Hurt = Callable[[Stage], AbstractContextManager[object]]


def server_faults(broker: str) -> Iterator[Fault]:
    """Every fault of a server, then every pair."""
    yield from _postgres_faults()
    yield from _broker_faults(broker)
    yield Fault("prepared slots of products exhausted", "slots", _slots_exhausted("products"), 8)
    yield Fault("prepared slots of all exhausted", "slots", _slots_exhausted(*SERVICES), 8, short=True)
    for how in ("cut", "black-holed", "delayed"):
        for service in SERVICES:
            for role in ROLES:
                for server in SERVERS:
                    yield Fault(
                        f"{service}-{role} - {server} {how}",
                        f"pair {how}",
                        _pair(f"{service}-{role}", server, how),
                        short=(service, role, server, how) in _SHORT_PAIRS,
                    )


_SHORT_PAIRS = {
    ("orders", "api", "database", "black-holed"),
    ("products", "worker", "database", "cut"),
    ("users", "outcome-worker", "broker", "black-holed"),
    ("orders", "outcome-worker", "database", "delayed"),
}


def _postgres_faults() -> Iterator[Fault]:
    every = tuple(f"postgres-{service}" for service in SERVICES)
    yield Fault("every postgres stopped (immediate)", "postgres stopped", _stopped(*every), 3, short=True)
    for name in every:
        yield Fault(f"{name} stopped (immediate)", "postgres stopped", _stopped(name), 3)
    yield Fault("every postgres frozen for 15 s", "postgres frozen", _frozen(*every), 15)
    for name in every:
        yield Fault(f"{name} frozen for 15 s", "postgres frozen", _frozen(name), 15)
    yield Fault("postgres-orders frozen for 40 s", "postgres frozen", _frozen("postgres-orders"), 40, short=True)


def _broker_faults(broker: str) -> Iterator[Fault]:
    yield Fault("redis killed, its data kept", "redis", _killed("redis"), 3)
    yield Fault("redis killed, its data wiped", "redis", _wiped, 3, short=True)
    yield Fault("redis emptied (FLUSHALL)", "redis", _flushed, 1, short=True)
    yield Fault("redis frozen for 15 s", "redis", _frozen("redis"), 15)
    if broker == "rabbitmq":
        yield Fault("rabbitmq killed", "rabbitmq", _killed("rabbitmq"), 3, short=True)
        yield Fault("rabbitmq frozen for 15 s", "rabbitmq", _frozen("rabbitmq"), 15)


def _stopped(*names: str) -> Hurt:
    @contextmanager
    def hurt(stage: Stage) -> Iterator[None]:
        for name in names:
            stage.shop.signal(name, signal.SIGQUIT)
        for name in names:
            stage.shop.hold_down(name)  # the stop that is under way is the immediate one; no other follows
        yield
        for name in names:
            stage.shop.bring_up(name)

    return hurt


def _killed(name: str) -> Hurt:
    @contextmanager
    def hurt(stage: Stage) -> Iterator[None]:
        stage.shop.hold_down(name, kill=True)
        yield
        stage.shop.bring_up(name)

    return hurt


def _frozen(*names: str) -> Hurt:
    @contextmanager
    def hurt(stage: Stage) -> Iterator[None]:
        for name in names:
            stage.shop.signal(name, signal.SIGSTOP)
        try:
            yield
        finally:
            for name in names:
                stage.shop.signal(name, signal.SIGCONT)

    return hurt


@contextmanager
def _wiped(stage: Stage) -> Iterator[None]:
    wipe_redis(stage.shop)
    yield


def lose_messages(stage: Stage) -> None:
    """Everything that Redis holds: results, and messages where it is the broker."""
    with Redis.from_url(stage.shop.result_backend_url, socket_timeout=5) as redis:
        redis.flushall()


@contextmanager
def _flushed(stage: Stage) -> Iterator[None]:
    lose_messages(stage)
    yield


def _pair(process: str, server: str, how: str) -> Hurt:
    return lambda stage: stage.network.broken(process, server, how, DELAY)


def _slots_exhausted(*services: str) -> Hurt:
    """Prepared transactions of somebody else take every slot, and every slot that becomes free."""

    @contextmanager
    def hurt(stage: Stage) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            for service in services:
                stack.enter_context(_slots_taken(stage.shop.admin_url(service)))
            yield

    return hurt


@contextmanager
def _slots_taken(url: str) -> Iterator[None]:
    server, _, _ = url.rpartition("/")
    with contextlib.closing(psycopg2.connect(f"{server}/postgres")) as connection:
        connection.autocommit = True
        taken: list[str] = []
        try:
            _take_slots(connection, taken)
            yield
        finally:
            with connection.cursor() as cursor:
                for gid in taken:
                    cursor.execute("ROLLBACK PREPARED %s", (gid,))


def _take_slots(connection: psycopg2.extensions.connection, taken: list[str]) -> None:
    """Until none was free for two seconds: slots that our transactions held have been given back and taken by then."""
    end = time.monotonic() + 2
    while time.monotonic() < end:
        gid = f"somebody-elses-{len(taken)}"
        try:
            with connection.cursor() as cursor:
                cursor.execute("BEGIN; SELECT pg_current_xact_id()")
                cursor.execute("PREPARE TRANSACTION %s", (gid,))
        except psycopg2.Error as error:
            if error.pgcode != _TOO_MANY_PREPARED:
                raise
            with connection.cursor() as cursor:
                cursor.execute("ROLLBACK")
            time.sleep(0.05)
        else:
            taken.append(gid)
            end = time.monotonic() + 2
