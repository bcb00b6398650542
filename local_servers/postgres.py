"""PostgreSQL: a server with databases, each with the role that owns it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from local_servers.binaries import find_postgres, major_version
from local_servers.clearing import JUST_WAIT, end_known, processes_of
from local_servers.errors import LocalServersError, StartFailed
from local_servers.passwords import read_or_make, write_private
from local_servers.processes import Run
from local_servers.settings import HOST, Say, whole_number
from local_servers.supervision import DATABASES_STOP, Program
from local_servers.unprivileged import find_account

if TYPE_CHECKING:
    from sqlalchemy import Connection

SUPERUSER = "postgres"
PREPARED_TRANSACTIONS = "POSTGRES_MAX_PREPARED_TRANSACTIONS"
MOST = 10_000
SERVER_ENDS_WITHIN = 20.0
BACKENDS_GO_WITHIN = 2.0
NAME = re.compile(r"[a-z_][a-z0-9_]*")
"""Of a database or a role: it stands as it is in SQL, in a URL and in the name of a folder."""


class Postgres:
    """A data folder below the state folder, and the server on it.

    The data folder is good for one major version, so it is named with it. Passwords are in
    `passwords.json`: without that file nobody can log in to the data that is there.
    """

    def __init__(
        self,
        state: Path,
        port: int,
        environment: Mapping[str, str],
        say: Say,
        databases: Mapping[str, str],
        only: str | None = None,
        settings: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        """Find the programs and settle who runs them. Raises LocalServersError when there are none.

        `databases`: name → the role that owns it. `only`: the one of them that this server is for; it is called
        after it. None: it is for all. `settings`: name of a server → more of PostgreSQL's settings for it, name →
        value as in ``postgresql.conf``, without quotes.
        """
        self.databases = {only: databases[only]} if only else dict(databases)
        for name in (*self.databases, *self.databases.values()):
            if not NAME.fullmatch(name):
                raise ValueError(f"{name!r} cannot be the name of a database or a role here.")
        programs = find_postgres(environment)
        suffix = f"-{only}" if only else ""
        self.name = f"postgres{suffix}"
        self.data = state / f"pg{major_version(programs / 'postgres')}{suffix}"
        self.port = port
        self._say = say
        self._state = state
        self._passwords: dict[str, str] = {}
        self._programs = programs
        self._environment = _without_libpq_settings(environment)
        self._settings = {
            "listen_addresses": HOST,
            "unix_socket_directories": "",  # TCP only: a socket's path has a length limit that folders exceed
            "max_connections": whole_number(environment, "POSTGRES_MAX_CONNECTIONS", 300, MOST),
            # 0 is PostgreSQL's own default, and that of most managed servers: no prepared transactions
            "max_prepared_transactions": whole_number(environment, PREPARED_TRANSACTIONS, 200, MOST),
            "log_line_prefix": "",
            "log_checkpoints": "off",
            "logging_collector": "off",
            **(settings or {}).get(self.name, {}),
        }

    @property
    def prepared(self) -> bool:
        """Whether the passwords, and so the addresses, are known."""
        return bool(self._passwords)

    def prepare(self) -> None:
        """Make the data folder, once; nothing is left half made under its name.

        Raises LocalServersError when it is there without its passwords, StartFailed when initdb fails.
        """
        passwords = self._state / "passwords.json"
        if self.data.exists() and not passwords.exists():
            raise LocalServersError(
                f"{self.data} is there, but its passwords are not ({passwords}): put them back, "
                f"or remove {self.data} to begin with empty databases."
            )
        self._passwords = read_or_make(passwords, (SUPERUSER, *self.databases.values()))
        self._account = find_account(self._programs, self._state)
        if not self.data.exists():
            self._initialise()
        self._account.give(self.data)

    def program(self) -> Program:
        """The server. To be called after `prepare`."""
        settings = [word for name, value in self._settings.items() for word in ("-c", f"{name}={value}")]
        argv = [*self._account.command("postgres"), "-D", str(self.data), "-p", str(self.port), *settings]
        return Program(
            name=self.name,
            argv=tuple(argv),
            environment=self._environment,
            folder=self.data,
            is_ready=self._is_ready,
            port=self.port,
            stop_signal=signal.SIGINT,  # "fast": roll back what is open, write all down, and go
            stop_phase=DATABASES_STOP,
            before=self._clear_the_way,
            user=self._account.user,
            group=self._account.group,
        )

    def url(self, database: str, role: str) -> str:
        """postgresql://role:password@127.0.0.1:port/database"""
        return f"postgresql://{role}:{self._passwords[role]}@{HOST}:{self.port}/{database}"

    def admin_url(self, database: str) -> str:
        """The same for the superuser."""
        return self.url(database, SUPERUSER)

    def provide_databases(self) -> None:
        """Make each role and its database, where missing, and shut every database to other roles. A role may set
        restore points, which by default only superusers may.

        Can be repeated at any time, also after it was cut off. Raises StartFailed when the server says no.
        """
        from sqlalchemy import text  # slow to import, and needed here alone
        from sqlalchemy.exc import DBAPIError

        try:
            with self._as_superuser("postgres") as connection:
                self._provide(connection)
            for database, role in self.databases.items():
                with self._as_superuser(database) as connection:  # who may call a function is said in each database
                    connection.execute(text(f'GRANT EXECUTE ON FUNCTION pg_create_restore_point TO "{role}"'))
        except DBAPIError as error:
            raise StartFailed(f"PostgreSQL on {self.data} refused its databases: {error.orig}") from error

    @contextmanager
    def _as_superuser(self, database: str) -> Iterator[Connection]:
        from sqlalchemy import NullPool, create_engine

        url = self.admin_url(database).replace("postgresql:", "postgresql+psycopg2:", 1)
        engine = create_engine(url, isolation_level="AUTOCOMMIT", poolclass=NullPool)
        with engine.connect() as connection:
            yield connection

    def _provide(self, connection: Connection) -> None:
        from sqlalchemy import text

        roles = set(connection.scalars(text("SELECT rolname FROM pg_roles")))
        there = set(connection.scalars(text("SELECT datname FROM pg_database")))
        for role in dict.fromkeys(self.databases.values()):
            if role not in roles:
                connection.execute(text(f"CREATE ROLE \"{role}\" LOGIN PASSWORD '{self._passwords[role]}'"))
        for database, role in self.databases.items():
            if database not in there:
                connection.execute(text(f'CREATE DATABASE "{database}" OWNER "{role}"'))
        for database in (*self.databases, "postgres", "template1"):
            connection.execute(text(f'REVOKE ALL ON DATABASE "{database}" FROM PUBLIC'))

    def _initialise(self) -> None:
        for unfinished in self._state.glob(f"{self.data.name}.new-*"):
            shutil.rmtree(unfinished)
        new = self._state / f"{self.data.name}.new-{os.getpid()}"
        new.mkdir(mode=0o700)
        password = self._state / "initdb.password"
        write_private(password, self._passwords[SUPERUSER] + "\n")
        try:
            self._account.give(new)
            self._account.give(password)
            self._run_initdb(new, password)
        finally:
            password.unlink()
        new.rename(self.data)

    def _run_initdb(self, data: Path, password: Path) -> None:
        where = ["-D", str(data), "-U", SUPERUSER, "--pwfile", str(password)]
        how = ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"]
        done = self._run_tool("initdb", *where, *how, environment=self._environment)
        if done.returncode:
            raise StartFailed(f"initdb could not make {self.data}:\n{(done.stderr or done.stdout).strip()}")

    def _run_tool(self, name: str, *words: str, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        """Run one of PostgreSQL's programs to its end, as the account that owns the data."""
        return subprocess.run(
            [*self._account.command(name), *words],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            env=environment,
            cwd="/",
            user=self._account.user,
            group=self._account.group,
            extra_groups=None if self._account.user is None else [],
            start_new_session=True,
        )

    def _clear_the_way(self) -> None:
        """End a server that somebody left on the data folder, and wait until its last backends have gone.

        A backend needs a moment to see that its server was killed. While one lives, a new server refuses to
        start ("pre-existing shared memory block is still in use"). Once none does, the pid file means
        nothing, yet it would stop the new server if its pid now belonged to another process of ours.
        """
        if sys.platform != "linux":
            return  # whether the way is free cannot be seen; the server's own checks and the retries decide
        left = processes_of(self.data, "postgres", JUST_WAIT)
        server = [one._replace(sig=signal.SIGINT) for one in left if one.pid == self._server_in_pid_file()]
        if server:
            self._say(f"{self.name} (pid {server[0].pid}) was left running on {self.data}: stopping it")
            end_known(server, SERVER_ENDS_WITHIN)
        for pid in end_known(left, BACKENDS_GO_WITHIN):
            self._say(f"a postgres process without its server (pid {pid}) did not go: killed")
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def _server_in_pid_file(self) -> int | None:
        try:
            return int(self._pid_file()[0])
        except (OSError, ValueError, IndexError):
            return None

    def _is_ready(self, run: Run) -> bool:
        """The server writes its pid in line 1 and its state in line 8: starting, ready, stopping."""
        try:
            lines = self._pid_file()
        except OSError:
            return False
        return len(lines) >= 8 and lines[0].strip() == str(run.pid) and lines[7].strip() == "ready"

    def _pid_file(self) -> list[str]:
        return (self.data / "postmaster.pid").read_text().splitlines()


def _without_libpq_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """PGDATA, PGPORT and the like would change what the programs do."""
    kept = {name: value for name, value in environment.items() if not name.startswith("PG")}
    return {**kept, "LC_ALL": "C"}
