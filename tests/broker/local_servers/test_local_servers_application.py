"""An application of two databases and two processes on servers of its own: up, killed, routed, recorded, down."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psycopg2
import pytest

from local_servers.application import Application, Make
from local_servers.errors import LocalServersError
from local_servers.identity import identity
from local_servers.settings import ServerPorts, is_free
from local_servers.status import Status, read_status, status_file
from local_servers.supervision import Program

DATABASES = {"parcels": "parcels_owner", "archive": "archive_owner"}
JOB = "import os; print('made for', os.environ['DATABASE_URL'])"
WORK = "import os, time; print(os.environ.get('DATABASE_URL'), 'ready.', flush=True); time.sleep(60)"


@dataclass(frozen=True)
class Ports(ServerPorts):
    site: int = 0


class Post(Application):
    """A site that tells no database, and a sorter of parcels that ends after it."""

    def jobs(self) -> dict[str, Make]:
        return {"tables": partial(self._program, "tables", JOB, "parcels")}

    def programs(self) -> dict[str, Make]:
        return {
            "site": partial(self._program, "site", WORK, None),
            "sorter": partial(self._program, "sorter", WORK, "parcels", stop_phase=1),
        }

    def _program(self, name: str, script: str, database: str | None, stop_phase: int = 0) -> Program:
        return Program(
            name=name,
            argv=(sys.executable, "-c", script),
            environment=self.environment_of(name, database),
            folder=self.state,
            is_ready=lambda run: run.announced.is_set(),
            ready_text="ready.",
            stop_phase=stop_phase,
        )


@pytest.fixture(scope="module")
def asked() -> list[tuple[str, str]]:
    """Which process was sent to which server, in this order."""
    return []


@pytest.fixture(scope="module")
def post(tmp_path_factory: pytest.TempPathFactory, asked: list[tuple[str, str]]) -> Iterator[Post]:
    def route(process: str, server: str, url: str) -> str:
        asked.append((process, server))
        return f"{url}?through=proxy" if server == "database" else url

    with Post(tmp_path_factory.mktemp("post"), databases=DATABASES, ports=Ports.free(), route=route) as running:
        yield running


def test_a_job_is_done_before_the_programs_start_and_is_gone_then(post: Post) -> None:
    assert post.log_of("tables") == f"made for {post.database_url('parcels')}?through=proxy\n"
    assert post.names == ("postgres", "redis", "site", "sorter")
    with pytest.raises(LocalServersError, match=r"No process of the application is called 'tables' \(there is: redis"):
        post.pid("tables")


def test_only_who_is_given_a_database_is_told_one_and_each_by_its_route(
    post: Post, asked: list[tuple[str, str]]
) -> None:
    assert post.log_of("site") == "None ready.\n"
    assert post.log_of("sorter") == f"{post.database_url('parcels')}?through=proxy ready.\n"
    servers = ("broker", "results", "database")
    assert asked == [
        *(("tables", server) for server in servers),
        ("site", "broker"),
        ("site", "results"),
        *(("sorter", server) for server in servers),
    ]


def test_each_database_is_open_to_its_role_alone(post: Post) -> None:
    psycopg2.connect(post.database_url("archive")).close()
    psycopg2.connect(post.admin_url("archive")).close()
    with pytest.raises(psycopg2.OperationalError, match="permission denied for database"):
        psycopg2.connect(post.database_url("archive").removesuffix("archive") + "parcels")


def test_a_killed_program_is_started_again(post: Post) -> None:
    killed = post.pid("sorter")
    post.kill("sorter")
    post.wait_ready("sorter")
    assert post.pid("sorter") != killed


def test_the_status_says_what_a_later_launcher_needs_to_end_it_in_order(post: Post) -> None:
    status = read_status(post.state, Status)
    assert status is not None
    assert (status.phase, status.launcher.pid) == ("ready", os.getpid())
    assert status.databases == {name: post.database_url(name) for name in DATABASES}
    assert [one.name for one in sorted(status.processes, key=lambda one: one.stop_phase)] == [
        *("site", "sorter", "redis", "postgres")
    ]
    assert {one.name: one.stop_signal for one in status.processes}["postgres"] == signal.SIGINT
    assert json.loads(status_file(post.state).read_text())["apis"] == {}


def test_a_second_one_in_the_folder_does_not_start(post: Post) -> None:
    with pytest.raises(LocalServersError, match=r"^An application already runs in .*: stop it, or choose another"):
        Post(post.state, databases=DATABASES).start()
    with pytest.raises(LocalServersError, match=r"^This application is ready already"):
        post.start()


def test_with_a_server_for_each_database_each_is_named_after_it(tmp_path: Path) -> None:
    with Application(tmp_path, databases=DATABASES, postgres_each=True, supervise=False) as alone:
        assert alone.names == ("postgres-parcels", "postgres-archive", "redis")
        ports = {alone.database_url(name).rpartition(":")[2].partition("/")[0] for name in DATABASES}
        assert len(ports) == 2
        for name in DATABASES:
            psycopg2.connect(alone.database_url(name)).close()
            psycopg2.connect(alone.admin_url(name)).close()
        assert alone.data_folder("postgres-archive").name.endswith("-archive")
        pids = [alone.pid(name) for name in alone.names]
    assert not any(identity(pid) for pid in pids)
    assert is_free(alone.ports.redis)
    assert not status_file(tmp_path).exists()


@pytest.mark.parametrize("name", ["", "Parcels", "par-cels", 'par"cels', "1st"])
def test_a_name_that_could_mean_something_else_in_sql_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be the name of a database or a role"):
        Application(tmp_path, databases={"parcels": name})
    with pytest.raises(ValueError, match="cannot be the name of a database or a role"):
        Application(tmp_path, databases={name: "parcels_owner"})
