"""Ours, over HTTP: the shop as the project's own launcher starts it, without Flower."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from pathlib import Path

from benchmarks.load import Caller, Http
from benchmarks.stage import prepare_counting
from celery_config.manifest import SERVICES
from embedded.services import ROLES, Surroundings, service_program
from embedded.settings import ROOT
from embedded.shop import Shop
from local_servers.output import Output
from local_servers.settings import HOST
from local_servers.supervision import Kept

from .base import Contender

#: The settings under which every transaction has an attempt of its own.
ONE_AT_A_TIME = {"ATOMIC_ATTEMPT_SIZE": "1", "ATOMIC_ATTEMPTS_AT_ONCE": "1"}
_READY_WITHIN = 60.0


class Ours(Contender):
    """`workers`: worker processes of each role a service; the launcher starts one, the rest are added here."""

    name = "ours over HTTP"
    done = frozenset({"200", "201", "202"})

    def __init__(self, folder: Path, environment: Mapping[str, str], workers: int = 1) -> None:
        super().__init__(folder, environment)
        prepare_counting(folder)
        self.shop = Shop(folder, environment={"TASK_EVENTS": "off", **environment}, flower=False, supervise=False)
        self._workers = workers
        self._added: list[Kept] = []

    def start(self) -> None:
        self.shop.start()
        try:
            self._added = [self._kept(service, role, n) for n in range(1, self._workers) for service, role in _WORKERS]
            for kept in self._added:
                kept.start()
            for kept in self._added:
                kept.wait_ready(_READY_WITHIN)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """At once: what it did is checked by now, and its data go with it."""
        for kept in self._added:
            kept.ask_to_end(signal.SIGKILL)
        self.shop.kill_all()
        self.shop.stop()

    def admin_url(self, database: str) -> str:
        return self.shop.admin_url(database)

    @property
    def redis_port(self) -> int:
        return self.shop.ports.redis

    def pids(self) -> dict[str, list[int]]:
        servers = ("postgres", "redis")
        own = [self.shop.pid(name) for name in self.shop.names if name not in servers]
        added = [kept.run.pid for kept in self._added if kept.run]
        return {"own": own + added, **{name: [self.shop.pid(name)] for name in servers}}

    def caller(self, service: str = "users") -> Caller:
        return Http(HOST, self.shop.ports.of(service))

    def settle(self, within: float) -> list[str]:
        return [] if self.stock.wait_settled(within) else [f"{self.stock.unsettled()} not settled after {within:g} s"]

    def environment(self, service: str) -> dict[str, str]:
        """What makes a process a part of this shop's service."""
        return {
            "DATABASE_URL": self.shop.database_url(service),
            "BROKER_URL": self.shop.broker_url,
            "RESULT_BACKEND_URL": self.shop.result_backend_url,
            "TASK_EVENTS": "off",
            **self.settings,
        }

    def _kept(self, service: str, role: str, number: int) -> Kept:
        around = Surroundings(ROOT, {**os.environ, "PYTHONUNBUFFERED": "1", **self.environment(service)})
        program = service_program(service, role, 0, around)
        output = Output(f"{program.name}-{number + 1}", self.folder / "logs", None)
        return Kept(program, output, say=lambda _: None, changed=lambda: None)


_WORKERS = [(service, role) for service in SERVICES for role in ROLES if role != "api"]
