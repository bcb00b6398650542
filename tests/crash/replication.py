"""A shop of which every PostgreSQL server has a streaming standby, and what a failover is.

The standby is fed through the network of ``proxy``, so that what the primary has written can be kept from arriving: a
standby that is behind has not got it, and a promotion loses it. (``recovery_min_apply_delay`` would lose nothing: what
has arrived is applied before the promotion.) The processes' addresses lead to whoever is the primary.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import psycopg2

from celery_config.manifest import SERVICES
from embedded.services import Surroundings
from embedded.shop import Shop
from local_servers.errors import StartFailed
from local_servers.postgres import SUPERUSER, Postgres
from local_servers.settings import HOST, Say, free_port
from local_servers.supervision import Program
from tests.broker.databases import Databases
from tests.broker.waiting import wait_until

from .proxy import Network

STREAMS_WITHIN = 60.0
#: The two ends of a stream that feeds a standby, as the network knows them: (the standby's name, this).
PRIMARY = "primary"
#: What every standby calls itself to its primary.
_STANDBY = "standby"
#: How a primary is lost. The last: nobody hears of it any more but its clients, and then it is killed.
DEATHS = ("killed", "stopped", "isolated")

_STREAMS = "SELECT sync_state FROM pg_stat_replication WHERE application_name = %s AND state = 'streaming'"


class Replica(Postgres):
    """A copy of a service's server, which follows it until it is promoted, and is a server like any other then."""

    def __init__(
        self,
        primary: Postgres,
        state: Path,
        port: int,
        environment: Mapping[str, str],
        say: Say,
        databases: Mapping[str, str],
        number: int,
    ) -> None:
        (service,) = primary.databases
        super().__init__(state, port, environment, say, databases, only=service)
        self.name, self.data = f"{self.name}-{number}", self.data.with_name(f"{self.data.name}-{number}")
        self._primary = primary
        self._follows = ""

    def follow(self, url: str) -> None:
        """From the next start on follow the server that this address leads to."""
        address, _, port = url.rpartition("@")[2].partition("/")[0].rpartition(":")
        password = self._passwords[SUPERUSER]
        self._follows = f"host={address} port={port} user={SUPERUSER} password={password} application_name={_STANDBY}"

    def program(self) -> Program:
        program = super().program()
        return replace(program, argv=(*program.argv, "-c", f"primary_conninfo={self._follows}"))

    def _initialise(self) -> None:
        """A copy of the primary as it runs, in place of an empty data folder."""
        new = self._state / f"{self.data.name}.new-{os.getpid()}"
        new.mkdir(mode=0o700)
        self._account.give(new)
        where = ["-D", str(new), "-h", HOST, "-p", str(self._primary.port), "-U", SUPERUSER, "--no-password"]
        how = ["--checkpoint=fast", "--wal-method=stream", "--no-sync", "--no-manifest"]
        environment = {**self._environment, "PGPASSWORD": self._passwords[SUPERUSER]}
        done = self._run_tool("pg_basebackup", *where, *how, environment=environment)
        if done.returncode:
            shutil.rmtree(new)
            raise StartFailed(f"{self._primary.name} could not be copied:\n{(done.stderr or done.stdout).strip()}")
        (new / "standby.signal").touch()
        self._account.give(new / "standby.signal")
        new.rename(self.data)


@dataclass(frozen=True)
class Promotion:
    """One service's failover. Times are seconds since the epoch.

    `died`: the old primary was gone. `promoted`: the service's address leads to the new one, which writes. `received`:
    the end of what had arrived there, as a position in the log.
    """

    service: str
    died: float
    promoted: float
    received: str


class ReplicatedShop(Shop):
    """Its names of processes are those of the current primaries; a standby's is its service's with a number."""

    def replicate(self, network: Network, *, synchronous: bool) -> None:
        """Give every service a standby, fed through `network`. To be called once, when the shop is up."""
        self._network, self._synchronous = network, synchronous
        self._numbers = count(1)
        self.standbys: dict[str, Replica] = {}
        self._dead: dict[str, list[Postgres]] = {service: [] for service in SERVICES}
        self._operators: dict[str, Surroundings] = {}
        for service in SERVICES:
            if synchronous:  # in the file that a copy takes along: who is promoted waits for a standby of its own
                self.tell(service, f"ALTER SYSTEM SET synchronous_standby_names = '{_STANDBY}'")
            self.tell(service, "ALTER SYSTEM SET wal_keep_size = '1GB'")
        self.give_standbys(SERVICES)
        for service in SERVICES:
            self.tell(service, "SELECT pg_reload_conf()")

    def give_standbys(self, services: Sequence[str]) -> None:
        """Make a standby of each of these services' primaries, and wait until it has all that the primary has."""
        settings = {**os.environ, **self._added}
        for service in services:
            port, number = free_port(self._ports_in_use()), next(self._numbers)
            self.standbys[service] = Replica(
                self._postgres_of(service), self.state, port, settings, self._say, self._databases, number
            )
        with ThreadPoolExecutor(len(services)) as pool:
            list(pool.map(self._feed, services))

    def _feed(self, service: str) -> None:
        primary, standby = self._postgres_of(service), self.standbys[service]
        standby.prepare()
        standby.follow(self._network.route(standby.name, PRIMARY, primary.admin_url("postgres")))
        self._start_and_wait(standby.program())
        wait_until(lambda: self.tell(service, _STREAMS, _STANDBY), f"{standby.name} follows", STREAMS_WITHIN)

    def wait_synchronous(self, service: str) -> None:
        """Return when the primary waits for its standby at every commit."""
        waits = lambda: [row for row in self.tell(service, _STREAMS, _STANDBY) if row[0] == "sync"]  # noqa: E731
        wait_until(waits, f"the standby of {service} is a synchronous one", STREAMS_WITHIN)

    def delay_stream(self, service: str, seconds: float) -> None:
        """From now on what the primary writes reaches its standby so much later."""
        self._network.delay(self.standbys[service].name, PRIMARY, seconds)

    def fail_over(self, services: Sequence[str], death: str, *, isolated: float, away: float) -> list[Promotion]:
        """Lose the primaries of these services at once and promote their standbys `away` seconds later.

        `isolated`: of a primary that dies so, the seconds for which it serves its clients and feeds no standby. The
        services have no standby afterwards.
        """
        old = {service: self._postgres_of(service) for service in services}
        if death == "isolated":
            self._cut_streams(services)
            time.sleep(isolated)
        for primary in old.values():
            self._end(primary.name, death)
        died = time.time()
        if death != "isolated":
            self._cut_streams(services)
        time.sleep(away)
        promoted = []
        for service, primary in old.items():
            new = self.standbys.pop(service)
            received = self._promote(new)
            self._all_postgres = tuple(new if one is primary else one for one in self._all_postgres)
            self._network.lead(primary.port, new.port)
            del self._kept[primary.name]
            self._dead[service].append(primary)
            promoted.append(Promotion(service, died, time.time(), received))
        return promoted

    def dead_primary(self, service: str) -> Databases:
        """The service's last dead primary, started again where nobody finds it, so that it can be asked what it knew.
        ``bury`` ends it."""
        dead = self._dead[service][-1]
        dead.port = free_port(self._ports_in_use())
        program = dead.program()
        self._start_and_wait(replace(program, argv=(*program.argv, "-c", "synchronous_standby_names=")))
        return Databases(dead.admin_url)

    def bury(self, service: str) -> None:
        """End the dead primaries of the service, and remove what they had."""
        while self._dead[service]:
            dead = self._dead[service].pop()
            if dead.name in self._kept:
                self.hold_down(dead.name)
                del self._kept[dead.name]
            shutil.rmtree(dead.data)

    def operate(self, service: str, *words: str, timeout: float) -> subprocess.CompletedProcess[str]:
        """Run one of the service's operator's verbs to its end."""
        if service not in self._operators:
            self._operators[service] = self._around(f"{service}-operator", service)
        around = self._operators[service]
        command = [sys.executable, "-m", f"{service}_service", *words]
        return subprocess.run(
            command, cwd=around.folder, env=around.environment, capture_output=True, text=True, timeout=timeout
        )

    def tell(self, service: str, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Ask the service's primary as its superuser, outside a transaction."""
        return _ask(self.admin_url(service), statement, *parameters)

    def _ports_in_use(self) -> set[int]:
        mine = {self._postgres_of(service).port for service in SERVICES}
        return mine | {standby.port for standby in self.standbys.values()} | set(self.ports.as_dict().values())

    def _cut_streams(self, services: Sequence[str]) -> None:
        for service in services:
            self._network.remove(self.standbys[service].name, PRIMARY)

    def _end(self, name: str, death: str) -> None:
        if death == "stopped":
            self.signal(name, signal.SIGQUIT)
            self.hold_down(name)  # the stop that is under way is the immediate one; no other follows
        else:
            self.hold_down(name, kill=True)

    def _promote(self, standby: Replica) -> str:
        url = standby.admin_url("postgres")
        (received,) = _ask(url, "SELECT pg_last_wal_receive_lsn()::text")[0]
        (done,) = _ask(url, "SELECT pg_promote(true, 60)")[0]
        if not done:
            raise StartFailed(f"{standby.name} could not be promoted")
        return str(received)


def _ask(url: str, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
    connection = psycopg2.connect(url)
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            return list(cursor.fetchall()) if cursor.description else []
    finally:
        connection.close()
