"""Six workers as the shop's, and clients that send the chains and wait for their ends."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.contenders.base import THREADS, OnServers
from benchmarks.installation import BENCHMARK
from benchmarks.load import Caller
from benchmarks.stage import worker
from celery_config.manifest import SERVICES

_TASKS = "benchmarks.contenders.raw_celery.tasks:celery"
_WAIT = 60.0


class RawCelery(OnServers):
    name = "raw Celery, no work"
    clients_are_its_own = True  # what the API does in ours, to publish and to wait, they do here
    removes = can_refuse = False

    def start_processes(self) -> None:
        self.servers.start_all(
            [
                worker(sys.executable, _TASKS, f"{service}-{role}", queue(service), THREADS[role], self.environment())
                for service in SERVICES
                for role, queue in (("worker", BENCHMARK.branch_queue), ("outcome-worker", BENCHMARK.outcome_queue))
            ]
        )

    def caller(self) -> Caller:
        names = ("BROKER_URL", "RESULT_BACKEND_URL", "TASK_EVENTS")
        return Chains(tuple((name, self.environment()[name]) for name in names))

    def removal(self, user: int) -> int:
        return user


@dataclass(frozen=True)
class Chains:
    #: (name, value) of the variables that this process needs
    environment: tuple[tuple[str, str], ...]

    def open(self) -> Callable[[int], str]:
        os.environ.update(self.environment)
        from .tasks import links

        def ask(_: int) -> str:
            links().apply_async().get(timeout=_WAIT)
            return "200"

        return ask
