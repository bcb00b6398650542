"""Its processes: as many as the shop's, with as many threads: one API, and two workers a service."""

from __future__ import annotations

import sys

from benchmarks.contenders.base import THREADS, OnServers
from benchmarks.installation import BENCHMARK
from benchmarks.stage import api, worker
from celery_config.manifest import SERVICES

_HERE = "benchmarks.contenders.nested_wait"


class NestedWait(OnServers):
    name = "nested wait"

    def start_processes(self) -> None:
        environment, queue = self.environment(), BENCHMARK.branch_queue
        workers = [
            worker(sys.executable, f"{_HERE}.tasks:celery", f"{service}-{role}", queue(service), threads, environment)
            for service in SERVICES
            for role, threads in THREADS.items()
        ]
        self.servers.start_all([*workers, api(sys.executable, f"{_HERE}.app:create_app()", self.port, environment)])
