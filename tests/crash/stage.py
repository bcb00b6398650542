"""The running shop of the server faults: a steady workload, one fault at a time, and the verdict after each."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg2

from celery_config.manifest import COORDINATORS
from embedded.driver import Driver
from embedded.shop import Shop
from local_servers.errors import LocalServersError
from tests.broker.databases import Databases
from tests.broker.quorum_queues import wait_until_queues_are_kept
from tests.broker.shopkeeper import Shopkeeper
from tests.broker.waiting import wait_until

from .checker import check
from .clients import Client, Market
from .history import History
from .proxy import Network

CLIENTS, PAUSE = 8, 0.05
#: Orders that clients know of before the first fault.
WARM_UP = 30
#: Where transactions are caught when the fault begins: a branch prepared and its vote unsaid, the decision made and not
#: committed, an outcome received and not carried out.
CATCH_AT = ("prepare.after_prepare", "decide.before_commit", "commit.before_commit_prepared")
CATCH_FOR = 3.0
QUIET_WITHIN = 90.0
#: No request may take longer, whatever hangs: the client's wait of 5 s, and time limits that follow one another.
ANSWER_WITHIN = 25.0
PREPARED_SLOTS = 40
_DISTRIBUTED = ("place", "cancel", "remove")


class SkippedError(Exception):
    """This machine lacks what the fault needs. The message says what."""


@dataclass(frozen=True)
class Fault:
    """`hurt(stage)` begins the fault when it is entered and ends it when it is left, `hold` seconds later.

    `setting(stage)` is around all of it, before the workload begins and after the verdict: what has to be arranged.
    `kind` groups faults in the table. `roots` are the processes that run from another folder: such a fault gets a shop
    of its own.
    """

    name: str
    kind: str
    hurt: Callable[[Stage], AbstractContextManager[object]]
    hold: float = 6.0
    setting: Callable[[Stage], AbstractContextManager[object]] = lambda stage: nullcontext()
    roots: Callable[[Path], dict[str, Path]] = lambda folder: {}
    short: bool = False


@dataclass
class _Told:
    """What clients were answered during one fault."""

    answers: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0


class Stage:
    """One shop, each service with a PostgreSQL server of its own, reached through a network that can be broken."""

    def __init__(
        self, folder: Path, broker: str, roots: dict[str, Path], make: type[Shop] = Shop, seed: str = ""
    ) -> None:
        """`make`: the shop's class. `seed`: another one, and its clients choose otherwise."""
        self.folder, self.broker, self.roots, self.seed = folder, broker, roots, seed
        self.points = folder / "points"
        self.points.mkdir(parents=True)
        self.network = Network()
        self.shop = make(
            folder / "shop",
            broker=broker,  # type: ignore[arg-type]
            flower=False,
            environment={
                "ATOMIC_FAILPOINTS": str(self.points),
                "TASK_EVENTS": "off",
                "POSTGRES_MAX_PREPARED_TRANSACTIONS": str(PREPARED_SLOTS),
            },
            roots=roots,
            postgres_each=True,
            route=self.network.route,
        )
        self.databases = Databases(self.shop.admin_url)
        self._history = History(folder / "history.jsonl")
        self._known: set[str] = set()
        self._runs = 0

    def __enter__(self) -> Stage:
        self.shop.start()
        if self.broker == "rabbitmq":
            wait_until_queues_are_kept(self.shop.state)
        self._market = Market(Driver(self.shop.url), self._history)
        with self._workload():  # so that the first fault finds orders to cancel, and users with orders
            wait_until(lambda: len(self._market.orders) >= WARM_UP, "there are orders", 60)
        return self

    def __exit__(self, *_: object) -> None:
        self.shop.stop()
        self.network.close()
        self._history.close()

    def run(self, fault: Fault) -> dict[str, Any]:
        """Do it and judge. Returns the line of the report; nothing is raised for what goes wrong."""
        result: dict[str, Any] = {"fault": fault.name, "kind": fault.kind, "broker": self.broker, "wrong": []}
        before = len(self._history.entries())
        try:
            with fault.setting(self):
                result |= self._hurt_under_load(fault)
                result["wrong"] += self._verdict(result)
        except SkippedError as reason:
            return {**result, "skipped": str(reason)}
        except (AssertionError, LocalServersError, OSError, psycopg2.Error) as error:
            result["wrong"].append(f"{type(error).__name__}: {error}")
        told = _told(self._history.entries()[before:])
        if told.slowest > ANSWER_WITHIN:
            result["wrong"].append(f"a request was answered after {told.slowest:.1f} s only")
        return {**result, "answers": dict(sorted(told.answers.items())), "slowest": round(told.slowest, 2)}

    def _hurt_under_load(self, fault: Fault) -> dict[str, Any]:
        with self._workload() as load_over:
            caught = self._catch()
            with fault.hurt(self):
                time.sleep(fault.hold)  # a fault lasts: what it does is a matter of time
            ended = time.monotonic()
            load_over.set()
        for name in self.shop.names:
            self.shop.wait_ready(name)
        wait_until(self._is_quiet, "the shop is quiet", QUIET_WITHIN, every=0.05)
        return {"caught": caught, "quiet_after": round(time.monotonic() - ended, 2)}

    @contextmanager
    def _workload(self) -> Iterator[threading.Event]:
        """Steady clients while the block runs, or until the event is set. When it is left all have their answers."""
        over = threading.Event()
        self._runs += 1
        people = [Client(self._market, f"{self.seed}{self._runs}/{n}", over, PAUSE) for n in range(CLIENTS)]
        for person in people:
            person.start()
        try:
            yield over
        finally:
            over.set()
            for person in people:
                person.join()

    def _catch(self) -> int:
        """Wait until a transaction is held at each of the points. Returns how many."""
        fired = [self.points / "fired" / name for name in CATCH_AT]
        for note in fired:
            note.unlink(missing_ok=True)
        for name in CATCH_AT:
            (self.points / name).write_text(f"delay {CATCH_FOR}")
        wait_until(lambda: all(note.exists() for note in fired), f"something is held at each of {CATCH_AT}", 20)
        return len(fired)

    def _is_quiet(self) -> bool:
        unsettled = "SELECT 1 FROM transactions WHERE settled_at IS NULL LIMIT 1"
        journals = any(self.databases.rows(service, unsettled) for service in COORDINATORS)
        return not journals and not self.databases.prepared()

    def _verdict(self, result: dict[str, Any]) -> list[str]:
        """What the independent checker finds in the whole history, if it is new, and whether the shop still works."""
        began = time.monotonic()
        self._works()
        result["works_after"] = round(time.monotonic() - began, 2)
        found = set(check(self._history.entries(), self.databases.rows))
        new, self._known = sorted(found - self._known), self._known | found
        return new

    def _works(self) -> None:
        """Each of the three operations is done, by all nine processes."""
        keeper = Shopkeeper(self.shop, self.broker)
        began, user, product = time.time(), keeper.add_user(), keeper.add_product(stock=10)
        self._history.add("add_product", began, status=201, product=product, stock=10)
        order = keeper.placed_order(user, {product: 1})
        assert keeper.settled(keeper.cancel_order(order)) == "committed", "a cancellation was not committed"
        keeper.placed_order(user, {product: 1})
        assert keeper.settled(keeper.remove_user(user)) == "committed", "a removal was not committed"

    def last_words(self) -> str:
        """What a person needs who was not there."""
        return Shopkeeper(self.shop, self.broker).report()


def _told(entries: list[dict[str, Any]]) -> _Told:
    told = _Told()
    for entry in entries:
        if entry["operation"] in _DISTRIBUTED:
            told.answers[f"{entry['operation']} {entry['status'] or 'lost'}"] += 1
            told.slowest = max(told.slowest, entry["ended"] - entry["began"])
    return told
