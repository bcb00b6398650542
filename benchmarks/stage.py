"""The servers that contenders stand on: PostgreSQL with the three services' empty databases, and Redis, with the
settings of the embedded shop. Every contender gets new ones, in a folder that goes with it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from celery_config.manifest import SERVICES
from embedded.settings import DATABASES, ROOT
from local_servers.output import Output
from local_servers.postgres import Postgres
from local_servers.redis import Redis
from local_servers.settings import HOST, free_port
from local_servers.supervision import Kept, Program
from local_servers.workers import CELERY_READY

_READY_WITHIN = 60.0
#: Statements are counted by an extension that has to be loaded at the server's start.
_COUNTING = """
shared_preload_libraries = 'pg_stat_statements'
pg_stat_statements.max = 10000
pg_stat_statements.track = top
"""


def prepare_counting(state: Path) -> None:
    """Make the data folder of a PostgreSQL server that counts its statements; whatever is started on it does."""
    state.mkdir(parents=True, exist_ok=True)
    state.chmod(0o755)  # where the server runs as another user it has to pass through
    server = Postgres(state, 0, os.environ, lambda _: None, DATABASES)
    server.prepare()
    with (server.data / "postgresql.conf").open("a") as settings:
        settings.write(_COUNTING)


class Servers:
    """PostgreSQL and Redis, and the processes that a contender starts on them."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self._postgres = Postgres(state, free_port(), os.environ, lambda _: None, DATABASES)
        self._redis = Redis(state, free_port(), os.environ, lambda _: None)
        self._servers: dict[str, Kept] = {}
        self._started: list[Kept] = []

    def start(self) -> None:
        prepare_counting(self.state)
        self._servers["redis"] = self._run(self._redis.program())
        self._postgres.prepare()
        self._servers["postgres"] = self._run(self._postgres.program())
        self._postgres.provide_databases()
        self._migrate()

    def start_all(self, programs: list[Program]) -> None:
        """Start a contender's processes and wait until all are ready."""
        for program in programs:
            self._started.append(self._kept(program))
            self._started[-1].start()
        for kept in self._started:
            kept.wait_ready(_READY_WITHIN)

    def stop(self) -> None:
        """At once: what was done is checked by now, and the data go with the folder."""
        running = (*self._started, *self._servers.values())
        for kept in running:
            kept.ask_to_end(signal.SIGKILL)
        for kept in running:
            kept.wait_for_end(time.monotonic())

    def environment(self) -> dict[str, str]:
        """What a contender's processes are told: a URL for each database, broker and result backend, no events."""
        urls = {f"{service.upper()}_URL": self.url(service) for service in SERVICES}
        return {
            **os.environ,
            **urls,
            "PYTHONUNBUFFERED": "1",
            "BROKER_URL": self._redis.url(0),
            "RESULT_BACKEND_URL": self._redis.url(1),
            "TASK_EVENTS": "off",
        }

    def url(self, service: str) -> str:
        return self._postgres.url(service, DATABASES[service])

    def admin_url(self, database: str) -> str:
        return self._postgres.admin_url(database)

    @property
    def redis_port(self) -> int:
        return self._redis.port

    def pids(self) -> dict[str, list[int]]:
        """Group → pids, as the counters want it."""
        servers = {name: _pids([kept]) for name, kept in self._servers.items()}
        return {"own": _pids(self._started), **servers}

    def _migrate(self) -> None:
        migrations = [
            subprocess.Popen(
                [sys.executable, "-m", f"{service}_service", "migrate"],
                env={**os.environ, "DATABASE_URL": self.url(service)},
                cwd=ROOT,
                stdout=subprocess.DEVNULL,
            )
            for service in SERVICES
        ]
        codes = [migration.wait() for migration in migrations]
        if any(codes):
            raise RuntimeError(f"migrations ended with {codes}")

    def _run(self, program: Program) -> Kept:
        kept = self._kept(program)
        kept.start()
        kept.wait_ready(_READY_WITHIN)
        return kept

    def _kept(self, program: Program) -> Kept:
        output = Output(program.name, self.state / "logs", None)
        return Kept(program, output, say=lambda _: None, changed=lambda: None)


def _pids(processes: list[Kept]) -> list[int]:
    return [kept.run.pid for kept in processes if kept.run]


# ---- what contenders start


def api(python: str, app: str, port: int, environment: Mapping[str, str], web_workers: int = 1) -> Program:
    """`app` behind gunicorn with the settings of the shop's own APIs."""
    settings = {"PORT": str(port), "WEB_WORKERS": str(web_workers)}
    return Program(
        name="api",
        argv=(python, "-m", "gunicorn", "--config", "python:http_api.gunicorn_conf", app),
        environment={**environment, **settings},
        folder=ROOT,
        is_ready=lambda run: _listens(port),
        port=port,
    )


def worker(python: str, app: str, name: str, queue: str, threads: int, environment: Mapping[str, str]) -> Program:
    """A Celery worker of `app` with the options, the log level too, of the shop's own workers."""
    options = ("--queues", queue, "--hostname", f"{name}@%h", "--concurrency", str(threads), "--loglevel", "INFO")
    return Program(
        name=name,
        argv=(python, "-m", "celery", "--quiet", "-A", app, "worker", *options, "--without-gossip", "--without-mingle"),
        environment=environment,
        folder=ROOT,
        ready_text=CELERY_READY,
    )


def _listens(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), timeout=1).close()
    except OSError:
        return False
    return True
