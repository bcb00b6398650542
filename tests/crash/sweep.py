"""Go through injections one after the other on one running shop, and write down what came of each."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TextIO

from celery import Celery
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from atomic_commit import Limits
from atomic_commit.coordinator.known_databases import KnownDatabases
from atomic_commit.journal import records
from atomic_commit.journal.records import attempt_of
from atomic_commit.wire.messages import Messages
from atomic_commit.workers.settings import configure
from celery_config.manifest import SERVICES
from embedded.driver import ASYNC, Answer
from embedded.shop import Shop
from local_servers.json_http import NoAnswer
from tests.broker.shopkeeper import Shopkeeper
from tests.broker.waiting import wait_until
from tests.installation import INSTALLATION

from .crowd import Crowd
from .fault_watch import FaultWatch
from .injections import Injection
from .judge import judge
from .scenarios import Scene

#: Seconds within which the shop must be quiet after the last fault: far over the promise, so that a hang is told apart
#: from slowness, which the figures show.
QUIET_WITHIN = 60.0


class Sweep:
    """One shop whose points are armed through `points`, a folder that its processes know as ATOMIC_FAILPOINTS."""

    def __init__(self, shop: Shop, broker: str, points: Path) -> None:
        self.shop, self.broker, self.points = shop, broker, points
        points.mkdir(parents=True, exist_ok=True)

    def run(self, injections: Iterable[Injection], out: TextIO) -> list[dict[str, Any]]:
        """Do them all; one JSON line each to `out`. Failures are recorded, not raised: the sweep goes on."""
        results = []
        for number, injection in enumerate(injections, 1):
            result = {**asdict(injection), "broker": self.broker, **self.one(injection)}
            results.append(result)
            out.write(json.dumps(result) + "\n")
            out.flush()
            if number % 25 == 0 or result["wrong"]:
                _tell(number, results)
        return results

    def one(self, injection: Injection) -> dict[str, Any]:
        """Do one injection and judge. Returns whether it fired, the answer's status, the seconds from the fault's begin
        and from its end (see FaultWatch) to quiet, and what was wrong."""
        keeper, company = Shopkeeper(self.shop, self.broker), replace(injection, ending="commit")
        scenes = [Scene(keeper, injection), *(Scene(keeper, company) for _ in range(injection.company))]
        for scene in scenes:
            scene.set()
        since = keeper.databases.rows("orders", "SELECT clock_timestamp() AS now")[0]["now"]
        wrong = None
        with ExitStack() as stack:
            crowd = stack.enter_context(Crowd(scenes)) if injection.company else None
            stack.enter_context(self._armed(injection))
            fault = stack.enter_context(FaultWatch(self.shop, self.points, injection))
            answers = [self._answer(scenes[0])] if crowd is None else crowd.let_go()
            try:
                quiet_at = self._quiet(keeper)
                judge(scenes, answers, since)
            except AssertionError as error:
                quiet_at, wrong = time.time(), f"{error}\n{keeper.report()}"
        self._ready_again()
        return {
            "fired": fault.began is not None,
            "status": answers[0].status if answers[0] else None,
            "answered_after": round(answers[0].seconds, 3) if answers[0] else None,
            "quiet_after_began": round(quiet_at - fault.began, 3) if fault.began else None,
            "quiet_after": round(max(0.0, quiet_at - fault.ended), 3) if fault.ended else None,
            "wrong": wrong,
        }

    def _answer(self, scene: Scene) -> Answer | None:
        with suppress(NoAnswer):  # the connection was lost with the API process
            return self._request(scene)
        return None

    def _request(self, scene: Scene) -> Answer:
        if scene.injection.delivery == "first":
            return scene.act()
        answer = scene.act(**ASYNC)
        if answer.status == 202:
            self._deliver_again(scene, answer)
        return answer

    def _deliver_again(self, scene: Scene, answer: Answer) -> None:
        """Send the chain a second time at once, and every outcome a second time once there is a decision."""
        service = "users" if scene.injection.kind == "remove_user" else "orders"
        celery = configure(
            Celery(service, set_as_current=False),
            installation=INSTALLATION,
            service=service,
            services=SERVICES,
            broker_url=self.shop.broker_url,
            result_backend_url=self.shop.result_backend_url,
        )
        engine = create_engine(self.shop.admin_url(service).replace("postgresql:", "postgresql+psycopg2:", 1))
        messages = Messages(celery, INSTALLATION, service, Limits().message_lifetime, KnownDatabases(engine).of)
        try:
            record = self._record(engine, answer)
            if record.current_branches:  # between two attempts there is no chain
                assert messages.send_attempt(attempt_of([record])), "the broker took the chain"
            scene.keeper.decided(answer)
            record = self._record(engine, answer)
            outcomes = [branch for branch in record.branches if branch.outcome]
            assert messages.send_outcomes(outcomes, record.read_at), "the broker took the outcomes"
        finally:
            engine.dispose()
            celery.close()

    def _record(self, engine: Any, answer: Answer) -> Any:
        with Session(engine) as session:
            return records.read(session, answer.body["transaction"]["id"])

    @contextmanager
    def _armed(self, injection: Injection):
        """The point is armed; a retry needs a first attempt that fails, and one point more for that."""
        for old in [*self.points.glob("*.*"), *(self.points / "fired").glob("*")]:
            old.unlink(missing_ok=True)
        if injection.ending == "retry" and injection.point != "prepare.after_function":
            (self.points / "prepare.after_function").write_text("raise")
        if injection.point in ("sweep.after_claim", "sweep.after_look"):
            # Slow enough to be looked at. A message of an earlier injection that comes again does not get that far.
            (self.points / "prepare.after_branch_row").write_text("delay 2")
        skip = "after 1\n" if injection.delivery == "again" else ""
        (self.points / injection.point).write_text(skip + injection.action)
        yield
        for left in self.points.glob("*.*"):
            left.unlink(missing_ok=True)

    def _quiet(self, keeper: Shopkeeper) -> float:
        wait_until(
            lambda: not keeper.unfinished() and not keeper.databases.prepared(), "the shop is quiet", QUIET_WITHIN
        )
        return time.time()

    def _ready_again(self) -> None:
        for name in self.shop.names:
            self.shop.wait_ready(name)


def _tell(number: int, results: list[dict[str, Any]]) -> None:
    wrong = [r for r in results if r["wrong"]]
    fired = sum(r["fired"] for r in results)
    print(f"{number} injections, {fired} fired, {len(wrong)} wrong", flush=True)
    if results[-1]["wrong"]:
        print(json.dumps({k: v for k, v in results[-1].items() if k != "wrong"}), results[-1]["wrong"], flush=True)
