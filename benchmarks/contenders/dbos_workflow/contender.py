"""Its processes: the API alone, in as many processes as help (a Python process fills one core at most)."""

from __future__ import annotations

import contextlib
import os
import subprocess

import psycopg2

from benchmarks.contenders.base import OnServers, require_bench_python
from benchmarks.stage import api
from embedded.settings import DATABASES, ROOT

_HERE = "benchmarks.contenders.dbos_workflow"
#: One process of the API for each core, at least two.
_PROCESSES = max(2, os.cpu_count() or 2)
#: In each of them; each thread needs a connection of DBOS's own while it works.
_THREADS = 32


class DbosWorkflow(OnServers):
    name = "DBOS workflow"

    def start_processes(self) -> None:
        python = require_bench_python()
        self._make_database()
        environment = {**self.environment(), "DBOS_URL": self._url(), "WEB_THREADS": str(_THREADS)}
        command = [python, "-m", f"{_HERE}.migrate"]
        subprocess.run(command, env=environment, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        self.servers.start_all([api(python, f"{_HERE}.app:create_app()", self.port, environment, _PROCESSES)])

    def _url(self) -> str:
        return self.servers.url("users").rpartition("/")[0] + "/dbos"

    def _make_database(self) -> None:
        with contextlib.closing(psycopg2.connect(self.admin_url("postgres"))) as connection:
            connection.autocommit = True
            connection.cursor().execute(f"CREATE DATABASE dbos OWNER {DATABASES['users']}")
