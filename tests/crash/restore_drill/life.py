"""The first life of a shop: load, base backups, restore points, and its end."""

from __future__ import annotations

import random
import shutil
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from celery_config.manifest import SERVICES
from embedded.driver import Driver
from embedded.shop import Shop
from local_servers.binaries import find_postgres
from local_servers.unprivileged import find_account
from tests.broker.databases import Databases
from tests.broker.waiting import wait_until

from ..clients import Client, Market
from ..history import History
from . import backups
from .points import Point, RefusedPointError, set_restore_point
from .steps import Steps

CLIENTS = 12
#: A restore point that is refused is asked for again so often.
_TRIES = 5
#: Where one transaction after the other is held up for some seconds while the second point is set: branches that have
#: not begun, that are prepared and have not said so or not handed on, decisions not made, commits not done.
_CATCH_AT = (
    "prepare.before_branch_row",
    "prepare.after_prepare",
    "prepare.next_link_published",
    "decide.before_votes",
    "commit.before_commit_prepared",
)
_CATCH_FOR = 1.0
#: Seconds for which there is load before the first point, between the two, and after the second: at least, at most.
_BEFORE, _BETWEEN, _AFTER = (1.0, 4.0), (2.0, 4.0), (0.5, 4.0)
_YES = ("place 201", "cancel 200", "remove 200")


@dataclass(frozen=True)
class Folders:
    """Of one round: the shop's state, each server's archived log and base backup, what Redis held at the crash."""

    root: Path

    @property
    def shop(self) -> Path:
        return self.root / "shop"

    @property
    def failpoints(self) -> Path:
        return self.root / "failpoints"

    @property
    def redis(self) -> Path:
        return self.root / "redis"

    def archive(self, service: str) -> Path:
        return self.root / "archive" / service

    def backup(self, service: str) -> Path:
        return self.root / "backups" / service

    def make(self) -> None:
        """Those that must be there before the first start; the servers write into the archives."""
        for made in (self.shop, self.failpoints, self.root / "backups", *map(self.archive, SERVICES)):
            made.mkdir(parents=True)
        find_account(find_postgres({}), self.shop).give(self.root / "archive")


@dataclass(frozen=True)
class Lived:
    """What remains of the first life, beside the backups."""

    market: Market
    answers: list[dict[str, Any]]
    earlier: Point
    point: Point
    load_began: float
    backup_mb: float
    wrong: tuple[str, ...]


def shop_in(folders: Folders, postgres_settings: Mapping[str, Mapping[str, str]] | None = None) -> Shop:
    """The shop as the drill runs it: a PostgreSQL server for each service."""
    return Shop(
        folders.shop,
        flower=False,
        environment={"TASK_EVENTS": "off", "ATOMIC_FAILPOINTS": str(folders.failpoints)},
        postgres_each=True,
        postgres_settings=postgres_settings,
    )


def live(folders: Folders, seed: str, away: str, steps: Steps) -> Lived:
    """Run a shop until everything is killed; Redis' folder is copied then. `away`: the service whose server is away
    when a restore point is asked for in vain."""
    dice = random.Random(seed)
    shop = shop_in(folders, {f"postgres-{each}": backups.archiving(folders.archive(each)) for each in SERVICES})
    history = History(folders.root / "history.jsonl")
    with steps.step("a shop starts"):
        shop.start()
    try:
        market = Market(Driver(shop.url), history)
        load_began = time.time()
        with load(market, seed):
            with steps.step("base backups under load") as say:
                backup_mb = _take_base_backups(shop, folders)
                say(f"{backup_mb:.0f} MB")
            with steps.step(f"a restore point while postgres-{away} is away") as say:
                wrong = _ask_in_vain(shop, away, history)
                say("; ".join(wrong) or "refused, and the shop goes on")
            time.sleep(dice.uniform(*_BEFORE))
            earlier = _set_point(shop, "earlier", steps)
            time.sleep(dice.uniform(*_BETWEEN))
            with _half_way(folders.failpoints):
                point = _set_point(shop, "point", steps)
            hung = f"{dice.choice(SERVICES)}-outcome-worker"
            with steps.step(f"{hung} hangs: what is decided from now on waits in its queue"):
                shop.signal(hung, signal.SIGSTOP)
                time.sleep(dice.uniform(*_AFTER))
            with steps.step("the log is archived"):
                for service in SERVICES:
                    backups.close_log(Databases(shop.admin_url), service, folders.archive(service))
            with steps.step("everything is killed"):
                shop.kill_all()
    finally:
        shop.stop()
    shutil.copytree(shop.data_folder("redis"), folders.redis)
    answers = history.entries()
    history.close()
    return Lived(market, answers, earlier, point, load_began, backup_mb, tuple(wrong))


@contextmanager
def load(market: Market, seed: str) -> Iterator[None]:
    """Clients at work while the block runs. When it is left all have their answers."""
    over = threading.Event()
    people = [Client(market, f"{seed}/{number}", over) for number in range(CLIENTS)]
    for person in people:
        person.start()
    try:
        yield
    finally:
        over.set()
        for person in people:
            person.join()


def _take_base_backups(shop: Shop, folders: Folders) -> float:
    """Of all servers at once. Returns MB."""

    def one(service: str) -> float:
        url, folder = shop.admin_url(service), folders.backup(service)
        return backups.take_base_backup(find_postgres({}), url, folder, shop.environment_of("pg_basebackup"))

    with ThreadPoolExecutor(len(SERVICES)) as pool:
        return sum(pool.map(one, SERVICES))


def _set_point(shop: Shop, name: str, steps: Steps) -> Point:
    """Set a restore point; where it is refused, as a busy machine may have it, another one under another name. Raises
    RefusedPointError when that does not help."""
    with steps.step(f"restore point {name!r}") as say:
        for tried in range(1, _TRIES):
            try:
                point = set_restore_point(shop, f"{name}-{tried}")
            except RefusedPointError as refusal:
                say(f"refused: {refusal}")
            else:
                say(f"decisions held for {point.held:.1f} ms")
                return point
        return set_restore_point(shop, f"{name}-{_TRIES}")


@contextmanager
def _half_way(failpoints: Path) -> Iterator[None]:
    """While the block runs some transaction is held up at nearly every of the points; at its begin one is at each."""
    over = threading.Event()

    def arm() -> None:
        while not over.wait(0.05):
            for name in _CATCH_AT:
                if not (failpoints / name).exists():
                    whole = failpoints / f"{name}.new"
                    whole.write_text(f"delay {_CATCH_FOR}")
                    whole.rename(failpoints / name)

    arming = threading.Thread(target=arm, name="failpoints")
    arming.start()
    fired = [failpoints / "fired" / name for name in _CATCH_AT]
    try:
        wait_until(lambda: all(note.exists() for note in fired), f"something is held at each of {_CATCH_AT}", 30)
        yield
    finally:
        over.set()
        arming.join()
        for name in _CATCH_AT:
            (failpoints / name).unlink(missing_ok=True)


def _ask_in_vain(shop: Shop, away: str, history: History) -> list[str]:
    """A restore point that can't be set everywhere is refused, and holds nobody's decisions. Returns what is wrong."""
    shop.hold_down(f"postgres-{away}", kill=True)
    try:
        set_restore_point(shop, "nowhere")
        wrong = [f"a restore point was set although the server of {away} was away"]
    except RefusedPointError as refusal:
        wrong = [] if str(refusal) else ["a restore point was refused without a word"]
    shop.bring_up(f"postgres-{away}")
    decided = _decided(history)
    try:
        wait_until(lambda: _decided(history) > decided, "the shop decides again", 30)
    except AssertionError as error:
        wrong.append(f"after a restore point that was refused: {error}")
    return wrong


def _decided(history: History) -> int:
    return sum(history.counts[answer] for answer in _YES)
