"""Its processes: as many as the shop's, with as many threads: one API, and six workers on the one queue."""

from __future__ import annotations

from benchmarks.contenders.base import THREADS, OnServers, require_bench_python
from benchmarks.installation import BENCHMARK
from benchmarks.stage import api, worker
from celery_config.manifest import SERVICES

_HERE = "benchmarks.contenders.celery_saga"


class CelerySaga(OnServers):
    name = "celery-saga"
    # With 64 some users were still there afterwards who had been answered 500, some of their orders cancelled: nothing
    # that could be measured.
    most_clients = 16

    def start_processes(self) -> None:
        python, environment = require_bench_python(), self.environment()
        queue = BENCHMARK.branch_queue("users")
        workers = [
            worker(python, f"{_HERE}.saga:celery", f"{service}-{role}", queue, threads, environment)
            for service in SERVICES
            for role, threads in THREADS.items()
        ]
        self.servers.start_all([*workers, api(python, f"{_HERE}.app:create_app()", self.port, environment)])
