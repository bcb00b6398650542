"""PgBouncer before the databases of a soak, in transaction mode: a pooler for each service, as an operator runs it.

``Poolers.route`` is what ``embedded.Shop`` takes as its ``route``. The roles get the time limits that a pooler loses
(docs/operating/scaling.md); migrations go to the server directly.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import threading
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

import psycopg2

from local_servers.settings import HOST, free_port
from local_servers.unprivileged import NOBODY
from tests.broker.waiting import wait_until

PROGRAM = "/usr/sbin/pgbouncer"
#: Fewer than clients at once, so that server connections really change hands.
SERVER_CONNECTIONS = 8
_TIME_LIMITS = {
    "lock_timeout": "1s",
    "statement_timeout": "10s",
    "idle_in_transaction_session_timeout": "20s",
}
_SETTINGS = f"""
listen_addr = {HOST}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {SERVER_CONNECTIONS}
max_client_conn = 1000
ignore_startup_parameters = options,extra_float_digits
query_wait_timeout = 5
server_login_retry = 0.2
log_connections = 0
log_disconnections = 0
"""


class Poolers:
    """Started when their service's database is first asked for; ended by ``close``."""

    def __init__(self) -> None:
        # Beside the soak's own folder, which may be closed to the account that PgBouncer runs as instead of root.
        self.folder = Path(tempfile.mkdtemp(prefix="pgbouncer-"))
        self._ports: dict[str, int] = {}
        self._running: list[subprocess.Popen[bytes]] = []
        self._lock = threading.Lock()
        if os.geteuid() == 0:
            os.chown(self.folder, NOBODY, NOBODY)

    def route(self, process: str, server: str, url: str) -> str:
        if server != "database" or process.endswith("-migrate"):
            return url
        parts = urlsplit(url)
        with self._lock:
            service = parts.path.lstrip("/")
            if service not in self._ports:
                self._ports[service] = self._start(service, url)
        return urlunsplit(parts._replace(netloc=parts.netloc.replace(f":{parts.port}", f":{self._ports[service]}")))

    def close(self) -> None:
        for one in self._running:
            one.kill()
            one.wait()
        shutil.rmtree(self.folder)

    def __enter__(self) -> Poolers:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self, service: str, url: str) -> int:
        _limit_waits(url)
        parts, port = urlsplit(url), free_port()
        target = {
            "host": parts.hostname,
            "port": parts.port,
            "dbname": service,
            "user": parts.username,
            "password": unquote(parts.password or ""),
        }
        words = " ".join(f"{name}='{value}'" for name, value in target.items())
        config = self.folder / f"{service}.ini"
        log = self.folder / f"{service}.log"
        config.write_text(
            f"[databases]\n{service} = {words}\n\n[pgbouncer]{_SETTINGS}listen_port = {port}\nlogfile = {log}\n"
        )
        account = NOBODY if os.geteuid() == 0 else None
        self._running.append(
            subprocess.Popen(
                [PROGRAM, "-q", str(config)],
                user=account,
                group=account,
                extra_groups=None if account is None else [],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        )
        wait_until(lambda: _listens(port), f"PgBouncer of {service} listens", 10)
        return port


def _limit_waits(url: str) -> None:
    """What the role asks for itself, whoever connects it."""
    role = urlsplit(url).username
    connection = psycopg2.connect(url)
    try:
        with connection, connection.cursor() as cursor:
            for name, value in _TIME_LIMITS.items():
                cursor.execute(f"ALTER ROLE {role} SET {name} = '{value}'")
    finally:
        connection.close()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0
