"""One round: a shop is destroyed under load and put back, first all of it to one point, then one service to an earlier
one than the others."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg2

from celery_config.manifest import COORDINATORS, SERVICES
from embedded.driver import Driver
from embedded.shop import Shop
from local_servers.errors import LocalServersError
from tests.broker.databases import Databases
from tests.broker.waiting import wait_until

from ..checker import check
from ..history import History
from . import evidence
from .life import Folders, Lived, live, load, shop_in
from .losses import Loss, differences, expected_losses, visible_losses
from .points import RefusedPointError
from .restored import Restored, restore
from .states import attempt_of, read_states
from .steps import Steps
from .verify import verified

SETTLES_WITHIN = 60.0
#: Seconds of load on the restored shop; after so many somebody must have been told that an order is placed.
WORKS_FOR, WORKS_WITHIN = 3.0, 30.0
_OPEN = "SELECT id FROM transactions WHERE settled_at IS NULL AND quarantined_at IS NULL"
_WENT_WRONG = (
    AssertionError,
    LocalServersError,
    RefusedPointError,
    OSError,
    psycopg2.Error,
    subprocess.SubprocessError,
)
#: What is printed of what went wrong: so many lines of so many characters.
_SHOWN, _WIDTH = 6, 300


@dataclass
class Result:
    """Of one round. Times are in seconds unless the name says otherwise; `violations` is empty where all is well."""

    round: int
    redis: str
    older: str
    when: float = 0.0
    answers_before: int = 0
    answers_lost: int = 0
    backup_mb: float = 0.0
    held_ms: float = 0.0
    settled_after: list[float | None] = field(default_factory=list)
    lost_named: int = 0
    lost_expected: int = 0
    took: float = 0.0
    violations: list[str] = field(default_factory=list)


class Round:
    """`older`: the service that comes back to an earlier moment than the others in the second half. `keep_redis`: Redis
    survives, with results and messages that are newer than what is restored."""

    def __init__(self, number: int, seed: str, older: str, keep_redis: bool, folder: Path) -> None:
        self._result = Result(number, "kept" if keep_redis else "lost", older)
        self._folders, self._keep_redis, self._older = Folders(folder), keep_redis, older
        self._seed, self._steps = f"{seed}/{number}", Steps()

    def run(self) -> Result:
        """Do it and judge. What goes wrong is in the result; then the round's folder is kept."""
        began = time.monotonic()
        try:
            self._live_and_restore()
        except _WENT_WRONG as error:
            self._result.violations.append(f"{type(error).__name__}: {error}")
            print(f"    WRONG {self._result.violations[-1]}", flush=True)
        self._result.took = time.monotonic() - began
        if not self._result.violations:
            shutil.rmtree(self._folders.root)
        return self._result

    def _live_and_restore(self) -> None:
        self._folders.make()
        lived = live(self._folders, self._seed, self._older, self._steps)
        self._note(lived)
        at_point = self._restored("everything", dict.fromkeys(SERVICES, lived.point.name))
        self._run_restored(at_point, lambda shop: self._judge_one_point(shop, lived))
        points = {**dict.fromkeys(SERVICES, lived.point.name), self._older: lived.earlier.name}
        apart = self._restored(f"{self._older} earlier than the others", points)
        expected = expected_losses(at_point.states, apart.states[self._older], self._older)
        self._run_restored(apart, lambda shop: self._judge_apart(shop, expected))

    def _note(self, lived: Lived) -> None:
        result, point = self._result, lived.point
        result.when = point.began - lived.load_began
        result.answers_before = sum(entry["ended"] < point.began for entry in lived.answers)
        result.answers_lost = sum(entry["began"] > point.ended for entry in lived.answers)
        result.backup_mb, result.held_ms = lived.backup_mb, max(lived.earlier.held, point.held)
        result.violations += lived.wrong

    def _restored(self, what: str, points: dict[str, str]) -> Restored:
        with self._steps.step(f"{what} is restored"):
            return restore(self._folders, points, self._keep_redis)

    def _run_restored(self, restored: Restored, judge: Callable[[Shop], list[str]]) -> None:
        """Start the shop on it, let it settle, judge it, and keep what a person needs of what is wrong."""
        shop = shop_in(self._folders)
        with self._steps.step("the shop starts on that"):
            shop.start()
        try:
            wrong = [*self._settle(shop), *judge(shop)]
            if wrong:
                self._tell(wrong, shop, restored)
            self._result.violations += wrong
        finally:
            shop.kill_all()  # nobody needs it any more
            shop.stop()

    # ---- what must be so

    def _settle(self, shop: Shop) -> list[str]:
        """Wait until nothing is undecided, owed or prepared, but for what is quarantined: that waits for a person."""
        databases = Databases(shop.admin_url)
        with self._steps.step("it settles by itself") as say:
            seconds = _wait_settled(databases)
            self._result.settled_after.append(seconds)
            if seconds is not None:
                return []
            left = _open(databases)
            say(f"not within {SETTLES_WITHIN:g} s, {len(left)} are left")
        return [f"not settled: {each}" for each in left]

    def _judge_one_point(self, shop: Shop, lived: Lived) -> list[str]:
        """All services are back at the same point: nothing is lost but what was asked after it, and the shop works."""
        rows = Databases(shop.admin_url).rows
        survived = lived.point.surviving(lived.answers)
        with self._steps.step("rows and answers are checked") as say:
            wrong = check(survived, rows)
            say(_counted(wrong))
        wrong += self._verified(shop, set())
        return wrong + [word for word in self._works(shop, lived, survived) if word not in wrong]

    def _works(self, shop: Shop, lived: Lived, survived: list[dict[str, Any]]) -> list[str]:
        """There is load again, and rows and answers of both lives agree."""
        databases, market = Databases(shop.admin_url), lived.market
        later = History(self._folders.root / "later.jsonl")
        market.shop, market.history = Driver(shop.url), later
        market.users[:] = _ids(databases, "users", "users", "active")
        market.orders[:] = _ids(databases, "orders", "orders", "open")
        with self._steps.step("the shop works") as say:
            with load(market, f"{self._seed}/restored"):
                time.sleep(WORKS_FOR)
                deadline = time.monotonic() + WORKS_WITHIN
                while not (placed := later.counts["place 201"]) and time.monotonic() < deadline:
                    time.sleep(0.1)
            _wait_settled(databases)
            wrong = check([*survived, *later.entries()], databases.rows)
            say(f"{sum(later.counts.values())} answers, {placed} orders placed")
        later.close()
        return wrong if placed else [*wrong, f"nobody could place an order within {WORKS_WITHIN:g} s"]

    def _judge_apart(self, shop: Shop, expected: Collection[Loss]) -> list[str]:
        """One service is back at an earlier moment than the others: the shop says what that has cost, no more and no
        less, and nothing else is wrong."""
        states = read_states(Databases(shop.admin_url))
        unexpected = visible_losses(states, self._older) - set(expected)
        wrong = self._verified(shop, expected)
        wrong += [f"nobody can expect that {loss}" for loss in sorted(unexpected)]
        lost = {(loss.transaction, loss.attempt) for loss in expected}
        return wrong + [
            f"quarantined, and nothing of its attempt is lost: {row['kind']} {row['id']}: {row['error']}"
            for state in states.values()
            for row in state.transactions
            if row["quarantined_at"] and attempt_of(row) not in lost
        ]

    def _verified(self, shop: Shop, expected: Collection[Loss]) -> list[str]:
        with self._steps.step("what is lost is named") as say:
            verdict = verified(shop)
            self._result.lost_named += len(verdict.losses)
            self._result.lost_expected += len(expected)
            say(f"{len(verdict.losses)} named, {len(expected)} expected")
        return [*verdict.wrong, *differences(expected, verdict.losses, "verify")]

    # ---- what a person gets to see

    def _tell(self, wrong: list[str], shop: Shop, restored: Restored) -> None:
        """The worst in a few lines; all of it in a file."""
        now = read_states(Databases(shop.admin_url))
        concerned = evidence.ids_in(wrong)
        lines = [*wrong, "", *evidence.alarms(shop)]
        for transaction in concerned:
            lines += ["", *evidence.about(transaction, restored.states, now, restored.remembered)]
        file = self._folders.root / f"evidence-{len(self._result.settled_after)}.txt"
        file.write_text("\n".join(lines) + "\n")
        for word in wrong[:_SHOWN]:
            print(f"    WRONG {word[:_WIDTH]}")
        if len(wrong) > _SHOWN:
            print(f"    and {len(wrong) - _SHOWN} more")
        for transaction in concerned[:_SHOWN]:
            print(f"    {evidence.in_short(transaction, restored.states, now, restored.remembered)}")
        print(f"    the rows of every side, and what Redis held: {file}", flush=True)


def _ids(databases: Databases, service: str, table: str, status: str) -> list[int]:
    return [row["id"] for row in databases.rows(service, f"SELECT id FROM {table} WHERE status = %s", status)]


def _open(databases: Databases) -> list[str]:
    """What is undecided, owed or prepared, in words; not what is quarantined."""
    ids = [f"{service}'s {row['id']}" for service in COORDINATORS for row in databases.rows(service, _OPEN)]
    return [*ids, *(f"prepared {gid}" for gid in databases.prepared())]


def _wait_settled(databases: Databases) -> float | None:
    """Seconds until nothing is open any more; None where that was not soon enough."""
    began = time.monotonic()
    try:
        wait_until(lambda: not _open(databases), "the shop has settled", SETTLES_WITHIN, every=0.1)
    except AssertionError:
        return None
    return time.monotonic() - began


def _counted(wrong: Collection[str]) -> str:
    return f"{len(wrong)} violations" if wrong else "nothing is wrong"
