"""``python -m tests.crash --failover [--mode sync|async] [--rounds N] [--only users|products|orders] [--seed S]
[--broker redis|rabbitmq] [--out FILE]``

Failovers of the services' databases to their standbys, on the running shop, under load. A synchronous standby has
everything that was answered, so nothing may be lost. One that is behind loses what had not arrived: then everybody else
must go on, nothing may stand prepared for ever, no id may be given twice, and every loss must be named.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import psycopg2

from celery_config.manifest import COORDINATORS, SERVICES
from local_servers.errors import LocalServersError
from tests.broker.databases import Databases
from tests.broker.waiting import wait_until

from .checker import check
from .failover_load import Visitors
from .failover_plan import MODES, Plan, plans
from .failover_report import summary, table, tell
from .losses import (
    BUSINESS,
    PROTOCOL,
    Findings,
    Loss,
    Tables,
    given_twice,
    judge,
    not_lost,
    story,
    unnamed,
    unnamed_holds,
)
from .prepared_watch import PreparedWatch
from .replication import Promotion, ReplicatedShop
from .stage import Stage
from .verify import Said, said_by_all

#: The promise: so long after a failover nothing stands prepared that stood then, and what is not lost can be done.
WITHIN = 60.0
#: How long the load goes on after the promotion.
_LOAD_AFTER = 5.0
#: Seconds before a failover in which many are made whose ids could be given twice.
_LAST_MOMENTS = 1.5
#: Of so many transactions with which something is wrong the result tells all that is known.
_STORIES = 5
_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")

#: service → (operation, status) that prove that it writes
_WRITES = {
    "users": {("add_user", 201), ("remove", 200)},
    "products": {("stock", 200), ("place", 201), ("cancel", 200)},
    "orders": {("place", 201), ("cancel", 200), ("fulfil", 200)},
}
_NOT_ARRIVED = "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), %s::pg_lsn)::bigint AS bytes"
_UNSETTLED = "SELECT id FROM transactions WHERE settled_at IS NULL AND quarantined_at IS NULL"


class FailoverStage(Stage):
    """A shop with a standby for every service, failed over again and again."""

    shop: ReplicatedShop

    def __init__(self, folder: Path, broker: str, mode: str, seed: str) -> None:
        super().__init__(folder, broker, {}, ReplicatedShop, f"{seed}/")
        self._synchronous = mode == "sync"
        self._dead: list[tuple[str, Tables]] = []
        self._found: set[object] = set()

    def __enter__(self) -> FailoverStage:
        super().__enter__()
        self.shop.replicate(self.network, synchronous=self._synchronous)
        if self._synchronous:
            for service in SERVICES:
                self.shop.wait_synchronous(service)
        self._visitors = Visitors(self._market)
        return self

    def fail_over(self, plan: Plan) -> dict[str, Any]:
        """Do it and judge. Returns the line of the report; nothing is raised for what goes wrong."""
        result: dict[str, Any] = {**vars(plan), "broker": self.broker, "wrong": []}
        before = len(self._history.entries())
        try:
            with PreparedWatch(self.databases) as watch:
                promotions = self._under_load(plan, result)
                self._settle(promotions, watch, result)
            self._tell_times(promotions, watch, before, result)
            judge_it = self._judge_synchronous if plan.synchronous else self._judge_asynchronous
            judge_it(promotions, result)
            for service in plan.services:
                self.shop.bury(service)
        except (AssertionError, LocalServersError, OSError, psycopg2.Error) as error:
            result["wrong"].append(f"{type(error).__name__}: {error}")
        return result

    # ---- the failover

    def _under_load(self, plan: Plan, result: dict[str, Any]) -> list[Promotion]:
        with self._workload() as load_over:
            for service, lag in zip(plan.services, plan.lags, strict=True):
                self.shop.delay_stream(service, lag)
            last_moments = min(_LAST_MOMENTS, *plan.lags)
            time.sleep(plan.load_before - last_moments)
            with self._visitors.newcomers(plan.services):
                time.sleep(last_moments)
                promotions = self.shop.fail_over(plan.services, plan.death, isolated=plan.isolated, away=plan.away)
            self.shop.give_standbys(plan.services)
            result["standby_after"] = round(time.time() - promotions[-1].promoted, 2)
            time.sleep(max(0.0, promotions[-1].promoted + _LOAD_AFTER - time.time()))
            load_over.set()
        return promotions

    def _settle(self, promotions: list[Promotion], watch: PreparedWatch, result: dict[str, Any]) -> None:
        """Everybody goes on, and everything ends, within the time that is promised."""
        promoted = promotions[-1].promoted
        for name in self.shop.names:
            self.shop.wait_ready(name)
        refused = self._visitors.errands(promoted + WITHIN)
        result["wrong"] += [f"not possible {WITHIN:.0f} s after the failover: {what}" for what in refused]
        result["works_after"] = round(time.time() - promoted, 2)
        try:
            wait_until(self._is_quiet, "the shop is quiet", max(1.0, promoted + WITHIN - time.time()), every=0.1)
            result["quiet_after"] = round(time.time() - promoted, 2)
        except AssertionError:
            standing = watch.look()
            result["standing"] = [one.gid for one in standing]
            result["wrong"] += [
                f"{one.gid} stands prepared at {one.service} for {one.stood_after(promoted):.0f} s" for one in standing
            ]
            result["wrong"] += [
                f"{row['id']} of {service} is neither settled nor in quarantine"
                for service in COORDINATORS
                for row in self.databases.rows(service, _UNSETTLED)
            ]

    def _is_quiet(self) -> bool:
        return not self.databases.prepared() and not any(self.databases.rows(one, _UNSETTLED) for one in COORDINATORS)

    def _tell_times(
        self, promotions: list[Promotion], watch: PreparedWatch, before: int, result: dict[str, Any]
    ) -> None:
        entries = self._history.entries()[before:]
        died = promotions[0].died
        result["requests"] = len(entries)
        result["prepared_longest"] = round(watch.longest_after(promotions[-1].promoted), 2)
        waits = [
            min((e["ended"] for e in entries if e["began"] >= died and _proves(e, one.service)), default=None)
            for one in promotions
        ]
        result["writes_after"] = None if None in waits else round(max(w for w in waits if w) - died, 2)

    # ---- the verdict

    def _judge_synchronous(self, promotions: list[Promotion], result: dict[str, Any]) -> None:
        """Nothing was lost: the independent checker's conservation law, and every answer, hold over all failovers."""
        history = self._history.entries()
        try:
            found = check(history, self.databases.rows)
        except LookupError as error:
            found = [f"what a client was told of is not there any more: {error!r}"]
        result["given_twice"] = self._new(given_twice(history, self._books()))
        result["wrong"] += self._new(found) + result["given_twice"]
        if result["wrong"]:
            self._ask_the_dead(promotions, result)
            self._keep_evidence(result, judge(self._books(), self._dead, history))

    def _judge_asynchronous(self, promotions: list[Promotion], result: dict[str, Any]) -> None:
        """Whatever was lost in part is named."""
        self._ask_the_dead(promotions, result)
        history = self._history.entries()
        findings = judge(self._books(), self._dead, history)
        said = said_by_all(self.shop)
        result["verify"] = said.problems
        losses = self._new(findings.losses)
        silent = unnamed(losses, said.losses)
        result |= {"lost": len(losses), "silent": len(silent), "named": len(losses) - len(silent)}
        for name in ("undone", "overturned", "in_quarantine", "given_twice", "orphans", "unheld"):
            result[name] = self._new(getattr(findings, name))
        result["wrong"] += self._new(findings.violations) + result["orphans"] + result["given_twice"]
        result["wrong"] += [_words(loss) for loss in silent]
        result["wrong"] += [f"SILENT: {order}" for order in unnamed_holds(result["unheld"], said.losses)]
        result["wrong"] += self._named_wrongly(findings, said)
        if result["wrong"]:
            self._keep_evidence(result, findings)

    def _named_wrongly(self, findings: Findings, said: Said) -> list[str]:
        wrong = [
            f"named as lost, and it is not: {json.dumps(one)}"
            for one in not_lost([*findings.losses, *findings.held], said.losses)
        ]
        return self._new(wrong) + said.wrong

    def _new(self, found: list[Any]) -> list[Any]:
        """Those that were not found after an earlier failover."""
        new = [one for one in found if one not in self._found]
        self._found.update(found)
        return new

    def _books(self) -> dict[str, Tables]:
        return {service: _tables(self.databases, service) for service in SERVICES}

    def _ask_the_dead(self, promotions: list[Promotion], result: dict[str, Any]) -> None:
        """What each primary knew when it died, and how much of its log had not arrived."""
        result["forgotten_bytes"] = []
        for one in promotions:
            dead = self.shop.dead_primary(one.service)
            self._dead.append((one.service, _tables(dead, one.service)))
            result["forgotten_bytes"] += [row["bytes"] for row in dead.rows("postgres", _NOT_ARRIVED, one.received)]

    def _keep_evidence(self, result: dict[str, Any], findings: Findings) -> None:
        """All rows into a file, and the stories of the first transactions with which something is wrong into the
        report."""
        books, history = self._books(), self._history.entries()
        evidence = {"result": result, "found": vars(findings), "books": books, "dead": self._dead}
        path = self.folder / f"failover-{result['number']}.json"
        path.write_text(json.dumps(evidence, default=lambda one: vars(one) if isinstance(one, Loss) else str(one)))
        ids = dict.fromkeys(id for words in result["wrong"] for id in _ID.findall(words))
        result["evidence"] = str(path)
        result["stories"] = {id: list(story(id, books, self._dead, history)) for id in list(ids)[:_STORIES]}


def _proves(entry: dict[str, Any], service: str) -> bool:
    return (entry["operation"], entry["status"]) in _WRITES[service]


def _tables(databases: Databases, service: str) -> Tables:
    return {table: databases.rows(service, f"SELECT * FROM {table}") for table in (*PROTOCOL, *BUSINESS[service])}


def _words(loss: Loss) -> str:
    what = f"branch {loss.branch}" if loss.lost == "branch" else f"its row, and {loss.branch} is done"
    return f"SILENT: {loss.kind} {loss.transaction}, attempt {loss.attempt}: {loss.service} has lost {what}"


# ---- the run


def run(chosen: list[Plan], broker: str, folder: Path, seed: str, out: TextIO) -> Iterator[dict[str, Any]]:
    """Do them all; one JSON line each to `out`. A shop in which something went wrong is not used again."""
    waiting, shops = list(chosen), 0
    while waiting:
        shops += 1
        here, mode = folder / f"shop-{shops}", waiting[0].mode
        with FailoverStage(here, broker, mode, f"{seed}/{shops}") as stage:
            while waiting and waiting[0].mode == mode:
                plan = waiting.pop(0)
                began = time.monotonic()
                result = stage.fail_over(plan)
                result["seconds"] = round(time.monotonic() - began, 1)
                out.write(json.dumps(result) + "\n")
                out.flush()
                tell(plan, result)
                yield result
                if result["wrong"]:
                    with contextlib.suppress(psycopg2.Error):  # what is wrong may be that a database is away
                        (here / "last_words.txt").write_text(stage.last_words())
                    break


def main(chosen: argparse.Namespace) -> int:
    """What ``--failover`` of the command line does. Returns an exit code: 1 if anything went wrong."""
    if chosen.only not in ("", *SERVICES):
        raise SystemExit(f"--only {chosen.only}: with --failover one of {', '.join(SERVICES)}")
    folder = Path(tempfile.mkdtemp(prefix="failover-"))
    modes = (chosen.mode,) if chosen.mode else MODES
    planned = [plan for mode in modes for plan in plans(chosen.seed, mode, chosen.rounds, chosen.only)]
    with open(chosen.out or folder / "results.jsonl", "a") as out:
        results = list(run(planned, chosen.broker, folder, chosen.seed, out))
    print(table(results))
    print(summary(results))
    print(f"logs and histories: {folder}")
    return 1 if any(result["wrong"] for result in results) else 0
