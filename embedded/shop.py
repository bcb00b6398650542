"""The whole shop as child processes of this one: `with Shop(folder) as shop: …`."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from celery_config.manifest import SERVICES
from embedded.services import ROLES, Surroundings, flower_program, migration, service_program
from embedded.settings import DATABASES, ROOT, Ports
from embedded.status import ShopStatus
from local_servers.errors import EmbeddedError
from local_servers.identity import identity
from local_servers.leftovers import stop_leftovers, stop_phases
from local_servers.lock import StateLock
from local_servers.output import Log, Output
from local_servers.postgres import Postgres
from local_servers.processes import Run
from local_servers.rabbitmq import RabbitMQ
from local_servers.redis import Redis
from local_servers.settings import HOST, Broker, check_ports, free_port
from local_servers.status import Recorded, forget_status, write_status
from local_servers.supervision import Kept, Program

LAUNCHER = "launcher"
NODE = "shop@localhost"
"""RabbitMQ's. Never changed: the data folder belongs to a node of this name."""
INSTALLATION = {"ATOMIC_INSTALLATION": "local"}
"""What this shop is called unless the environment says otherwise: its servers are its own, so it meets nobody."""
READY_WITHIN = 60.0
START_WITHIN = 120.0
"""For the first start of all at once: a dozen programs share the machine's cores."""
MISLEADING = ("PG", "CELERY_", "FLOWER_")
"""Variables with these beginnings would change what the services' libraries do behind the services' back."""
Route = Callable[[str, str, str], str]
"""(name of a process, "database" | "broker" | "results", the server's URL) → the URL that the process is told."""


class Shop:
    """PostgreSQL, Redis, three services of three processes each, and Flower, in one state folder.

    Names of processes: `postgres` (or `postgres-users` and so on), `redis` (then `epmd` and `rabbitmq`, if
    that is the broker), `users-api`, `users-worker`, `users-outcome-worker`, the same for products and orders,
    `flower`.

    Timeouts are in seconds. A method that takes a name raises EmbeddedError for one that is unknown. The
    methods may be called from several threads, but `start` and `stop` from one only.
    """

    def __init__(
        self,
        state: Path,
        *,
        ports: Ports | None = None,
        environment: Mapping[str, str] | None = None,
        broker: Broker = "redis",
        flower: bool = True,
        log: Log | None = None,
        supervise: bool = True,
        root: Path = ROOT,
        roots: Mapping[str, Path] | None = None,
        postgres_each: bool = False,
        route: Route | None = None,
    ) -> None:
        """Find the servers' programs; nothing is started or written yet.

        `ports`: None is a free one for each. `environment`: variables for every process, on top of our own
        and of those that the shop sets; this package's settings (SHOP_PG_BIN and the like) are read there
        too. `log` takes (name of a process, line) from several threads. `supervise=False`: what dies stays
        dead. `root`: the folder with the services' packages; `roots`: another one for some processes, by name
        (a worker of another release). `postgres_each`: a PostgreSQL server for each service, as in production,
        instead of one with three databases. `route` may send a process another way to its servers, such as
        through a proxy; it is asked once for each process and server.

        Raises EmbeddedError when a server is missing.
        """
        self.state = state.resolve()
        self.ports = (ports or Ports.free()).chosen()
        self._added = dict(environment or {})
        self._log, self._supervise, self._root, self._with_flower = log, supervise, root, flower
        servers = {**os.environ, **self._added}
        self._roots, self._route = dict(roots or {}), route or _directly
        self._postgres = self._postgres_servers(servers, postgres_each)
        self._redis = Redis(self.state, self.ports.redis, servers, self._say)
        self._rabbitmq = RabbitMQ(self.state, self.ports, servers, NODE) if broker == "rabbitmq" else None
        self._phase = "stopped"
        self._lock = StateLock(self.state)
        self._status_lock = threading.Lock()
        self._interrupted = threading.Event()
        self._outputs: dict[str, Output] = {}
        self._kept: dict[str, Kept] = {}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # Coming up and going down

    def start(self) -> None:
        """Bring everything up; return when all of it is ready.

        Raises EmbeddedError when a port is in use or a shop already runs in the state folder, StartFailed
        when a process does not come up, Interrupted after `interrupt`; everything is down again then.
        """
        if self._phase != "stopped":
            raise EmbeddedError(f"This shop is {self._phase} already.")
        self._lock.acquire()
        self._phase = "starting"
        try:
            self._outputs, self._kept = {LAUNCHER: self._output(LAUNCHER)}, {}
            stop_leftovers(self.state, self._say)
            check_ports(self.ports, self._ports_in_use())
            self._write_status()
            self._start_servers()
            self._migrate()
            self._start_services()
        except BaseException:
            self.stop()
            raise
        self._phase = "ready"
        self._write_status()

    def stop(self) -> None:
        """Take everything down in order, killing what is overdue. Nothing happens when all is down."""
        if self._phase == "stopped":
            return
        self._phase = "stopping"
        for phase in stop_phases(self._kept):
            asked_at = time.monotonic()
            for name in phase:
                self._kept[name].ask_to_end()
            for name in phase:
                self._kept[name].wait_for_end(asked_at)
        with self._status_lock:
            self._phase = "stopped"
            forget_status(self.state)
        for output in self._outputs.values():
            output.close()
        self._interrupted.clear()
        self._lock.release()

    def interrupt(self) -> None:
        """Make a `start` that is under way in another thread end soon, with Interrupted."""
        self._interrupted.set()

    def kill_all(self) -> None:
        """Kill every process at once. A `stop` that waits for them in another thread gets through."""
        for kept in list(self._kept.values()):
            kept.ask_to_end(signal.SIGKILL)

    def _start_servers(self) -> None:
        """PostgreSQL ready and with its databases; the brokers on their way meanwhile."""
        self._add(self._redis.program()).start()
        if self._rabbitmq:
            epmd, server = self._rabbitmq.programs()
            self._start_and_wait(epmd)
            self._add(server).start()
        for postgres in self._all_postgres:
            postgres.prepare()
            self._start_and_wait(postgres.program())
            postgres.provide_databases()

    def _migrate(self) -> None:
        running = [self._add(migration(service, self._around(f"{service}-migrate", service))) for service in SERVICES]
        for kept in running:
            kept.start()
        for kept in running:
            kept.wait_done(START_WITHIN, self._interrupted)
            del self._kept[kept.name]

    def _start_services(self) -> None:
        brokers = list(self._kept.values())
        programs = [
            service_program(service, role, self.ports.of(service), self._around(f"{service}-{role}", service))
            for service in SERVICES
            for role in ROLES
        ]
        if self._with_flower:
            programs.append(
                flower_program(self.ports.flower, self.state / "flower" / "history", self._around("flower"))
            )
        self._wait_for(brokers)
        started = [self._add(program) for program in programs]
        for kept in started:
            kept.start()
        self._wait_for(started)
        for kept in self._kept.values() if self._supervise else ():
            kept.watch()

    def _start_and_wait(self, program: Program) -> None:
        kept = self._add(program)
        kept.start()
        self._wait_for([kept])

    def _wait_for(self, processes: list[Kept]) -> None:
        """They all run already, so one after the other costs no more than the slowest."""
        for kept in processes:
            kept.wait_ready(START_WITHIN, self._interrupted)

    def _add(self, program: Program) -> Kept:
        output = self._outputs[program.name] = self._output(program.name)
        kept = self._kept[program.name] = Kept(program, output, say=self._say, changed=self._write_status)
        return kept

    def _output(self, name: str) -> Output:
        return Output(name, self.state / "logs", self._log)

    def _around(self, name: str, service: str | None = None) -> Surroundings:
        """Folder and variables of the process `name`; only those of a service know a database."""
        ours = {name: value for name, value in os.environ.items() if not name.startswith(MISLEADING)}
        said = {
            "BROKER_URL": self._route(name, "broker", self.broker_url),
            "RESULT_BACKEND_URL": self._route(name, "results", self.result_backend_url),
        }
        if service:
            said["DATABASE_URL"] = self._route(name, "database", self.database_url(service))
        folder = self._roots.get(name, self._root)
        return Surroundings(folder, {**INSTALLATION, **ours, "PYTHONUNBUFFERED": "1", **said, **self._added})

    def _postgres_servers(self, environment: Mapping[str, str], each: bool) -> dict[str, Postgres]:
        """Service → the server that its database is on."""
        if not each:
            one = Postgres(self.state, self.ports.postgres, environment, self._say, DATABASES)
            return dict.fromkeys(SERVICES, one)
        taken = set(self.ports.as_dict().values())
        servers = {}
        for service in SERVICES:
            taken.add(port := free_port(taken))
            servers[service] = Postgres(self.state, port, environment, self._say, DATABASES, only=service)
        return servers

    @property
    def _all_postgres(self) -> tuple[Postgres, ...]:
        return tuple(dict.fromkeys(self._postgres.values()))

    def _ports_in_use(self) -> set[str]:
        flower = {"flower"} if self._with_flower else set()
        rabbitmq = {"rabbitmq", "rabbitmq_dist", "epmd"} if self._rabbitmq else set()
        return {*SERVICES, "postgres", "redis", *flower, *rabbitmq}

    # Where things are (the databases' addresses are known once the shop was started)

    def url(self, service: str) -> str:
        """The API's, without a slash at the end."""
        return f"http://{HOST}:{self.ports.of(service)}"

    def database_url(self, service: str) -> str:
        """The service's own database, as the role that the service has."""
        return self._postgres[service].url(service, DATABASES[service])

    def admin_url(self, database: str) -> str:
        """Any database, as superuser: a service's, or one of those that every server has."""
        return self._postgres.get(database, self._all_postgres[0]).admin_url(database)

    def data_folder(self, name: str) -> Path:
        """Where `redis`, `postgres` (or `postgres-users` and so on) keeps its data."""
        folders = {postgres.name: postgres.data for postgres in self._all_postgres} | {"redis": self._redis.data}
        if name not in folders:
            raise EmbeddedError(f"{name!r} keeps no data here (these do: {', '.join(folders)}).")
        return folders[name]

    @property
    def broker_url(self) -> str:
        return self._rabbitmq.url if self._rabbitmq else self._redis.url(0)

    @property
    def result_backend_url(self) -> str:
        return self._redis.url(1)

    @property
    def flower_url(self) -> str:
        return f"http://{HOST}:{self.ports.flower}"

    # The processes

    @property
    def names(self) -> tuple[str, ...]:
        """Of all processes, whether they run or not."""
        rabbitmq = ("epmd", "rabbitmq") if self._rabbitmq else ()
        services = (f"{service}-{role}" for service in SERVICES for role in ROLES)
        postgres = (one.name for one in self._all_postgres)
        return (*postgres, "redis", *rabbitmq, *services, *(["flower"] if self._with_flower else []))

    def pid(self, name: str) -> int:
        """Of the process that runs now. Raises EmbeddedError while there is none."""
        return self._run(name).pid

    def log_of(self, name: str) -> str:
        """The most recent lines (up to 2000) that the process said in all its runs since the shop's start.

        Also of `users-migrate` and the like, and of `launcher`.
        """
        if name not in self._outputs:
            raise EmbeddedError(f"No process of the shop is called {name!r}.")
        return self._outputs[name].text()

    def kill(self, name: str, sig: int = signal.SIGKILL) -> None:
        """Signal the process with all its helpers. Supervision starts it again once it has ended.

        After SIGKILL it has ended when this returns. `wait_ready` counts the next run only, for this and for
        every other signal that ends. Raises EmbeddedError when the process does not run.
        """
        run = self._run(name)
        run.signal_all(sig)
        if sig == signal.SIGKILL:
            run.ended.wait()

    def signal(self, name: str, sig: int) -> None:
        """Signal the process alone, but freeze and thaw (SIGSTOP, SIGCONT) it with all its helpers.

        Raises EmbeddedError when the process does not run.
        """
        run = self._run(name)
        if sig in (signal.SIGSTOP, signal.SIGCONT):
            run.signal_all(sig)
        else:
            run.signal(sig)

    def hold_down(self, name: str, *, kill: bool = False) -> None:
        """End the process (SIGTERM or what it takes for a clean end; `kill`: SIGKILL) and keep it down."""
        self._find(name).end(signal.SIGKILL if kill else None)

    def bring_up(
        self, name: str, *, environment: Mapping[str, str] | None = None, timeout: float = READY_WITHIN
    ) -> None:
        """Start a process that is held down, and wait until it is ready.

        `environment` is added for this one run: what supervision starts after it does not have it. Raises
        StartFailed when it is not ready in time.
        """
        kept = self._find(name)
        kept.start(environment)
        kept.wait_ready(timeout)

    def wait_ready(self, name: str, timeout: float = READY_WITHIN) -> None:
        """Wait until the process runs and is ready.

        Raises StartFailed when it is not in time, at once when it is held down or dead without supervision.
        """
        self._find(name).wait_ready(timeout)

    def _find(self, name: str) -> Kept:
        if name not in self._kept:
            known = ", ".join(self._kept) or "none: the shop is not up"
            raise EmbeddedError(f"No process of the shop is called {name!r} (there is: {known}).")
        return self._kept[name]

    def _run(self, name: str) -> Run:
        run = self._find(name).run
        if run is None:
            raise EmbeddedError(f"{name} does not run at this moment.")
        return run

    # What others are told

    def _say(self, line: str) -> None:
        if LAUNCHER in self._outputs:
            self._outputs[LAUNCHER].add(line)

    def _write_status(self) -> None:
        """After every change of a process. Once the shop has stopped, a late change writes nothing."""
        with self._status_lock:
            if self._phase != "stopped":
                write_status(self.state, self._status())

    def _status(self) -> ShopStatus:
        me = os.getpid()
        return ShopStatus(
            launcher=Recorded(LAUNCHER, me, identity(me)),
            phase=self._phase,
            processes=self._recorded(),
            databases={name: self.database_url(name) for name in SERVICES if self._postgres[name].prepared},
            broker=self.broker_url,
            result_backend=self.result_backend_url,
            apis={service: self.url(service) for service in SERVICES},
            flower=self.flower_url if self._with_flower else None,
        )

    def _recorded(self) -> tuple[Recorded, ...]:
        """In the order of `names`, migrations last."""
        kept = dict(self._kept)
        order = [name for name in self.names if name in kept]
        return tuple(_recorded(kept[name]) for name in dict.fromkeys([*order, *kept]))


def _directly(process: str, server: str, url: str) -> str:
    return url


def _recorded(kept: Kept) -> Recorded:
    run, port = kept.run, kept.program.port
    return Recorded(kept.name, run.pid, run.identity, port) if run else Recorded(kept.name, None, None, port)
