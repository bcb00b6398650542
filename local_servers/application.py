"""An application on servers of its own, as child processes of this one: `with Application(folder, …) as it: …`."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from local_servers.control import ProcessControl
from local_servers.errors import LocalServersError
from local_servers.identity import identity
from local_servers.leftovers import stop_leftovers, stop_phases
from local_servers.lock import StateLock
from local_servers.output import Log, Output
from local_servers.servers import Route, Servers
from local_servers.settings import Broker, ServerPorts, check_ports
from local_servers.status import Recorded, Status, forget_status, write_status
from local_servers.supervision import Kept, Program

LAUNCHER = "launcher"
START_WITHIN = 120.0
"""For the first start of all at once: a dozen programs share the machine's cores."""

Make = Callable[[], Program]
"""Makes a program, once the servers are up and their URLs are known."""


class Application(Servers, ProcessControl):
    """PostgreSQL, Redis, RabbitMQ if wanted, and an application's processes, in one state folder.

    A subclass says in `jobs` and `programs` what runs on the servers, in `apis` which of it answers HTTP. Alone
    this class runs the servers.

    Names of processes: `postgres` (or `postgres-<database>` for each), `redis` (then `epmd` and `rabbitmq`, if
    that is the broker), then those of the programs.

    Timeouts are in seconds. A method that takes a name raises LocalServersError for one that is unknown. The
    methods may be called from several threads, but `start` and `stop` from one only.
    """

    noun: ClassVar[str] = "application"
    a_noun: ClassVar[str] = "an application"
    stop_it: ClassVar[str] = "stop it"
    """What messages call it, and how they say that it is stopped from another terminal."""

    def __init__(
        self,
        state: Path,
        *,
        databases: Mapping[str, str],
        ports: ServerPorts | None = None,
        environment: Mapping[str, str] | None = None,
        broker: Broker = "redis",
        node: str = "application@localhost",
        log: Log | None = None,
        supervise: bool = True,
        postgres_each: bool = False,
        postgres_settings: Mapping[str, Mapping[str, str]] | None = None,
        route: Route | None = None,
    ) -> None:
        """Find the servers' programs; nothing is started or written yet.

        `databases`: name → the role that owns it. `ports`: None is a free one for each. `environment`: variables
        for every process, on top of our own and of those that are set here; this package's settings (SHOP_PG_BIN
        and the like) are read there too. `node`: RabbitMQ's, never changed for one state folder. `log` takes
        (name of a process, line) from several threads. `supervise=False`: what dies stays dead. `postgres_each`:
        a PostgreSQL server for each database instead of one for all. `postgres_settings`: name of such a server →
        more of PostgreSQL's settings for it. `route` may send a process another way to its servers, such as through
        a proxy; it is asked once for each process and server.

        Raises LocalServersError when a server is missing.
        """
        ProcessControl.__init__(self)
        Servers.__init__(
            self,
            state,
            databases=databases,
            ports=ports,
            environment=environment,
            broker=broker,
            node=node,
            postgres_each=postgres_each,
            postgres_settings=postgres_settings,
            route=route,
            say=self._say,
        )
        self._log, self._supervise = log, supervise
        self._phase = "stopped"
        self._lock = self.lock_of(self.state)
        self._status_lock = threading.Lock()
        self._interrupted = threading.Event()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # What a subclass says

    def jobs(self) -> Mapping[str, Make]:
        """Name → program that runs to its end before the others start: migrations. All run side by side, so what has
        an order belongs into one job."""
        return {}

    def programs(self) -> Mapping[str, Make]:
        """Name → program that is kept running. Asked for its names at any time, for its programs at the start."""
        return {}

    @property
    def apis(self) -> Mapping[str, str]:
        """Name → URL of what answers HTTP, ``/readyz`` too (``readiness`` says what is to be in that answer)."""
        return {}

    def status(self) -> Status:
        """What runs now, for the state folder's `status.json`."""
        me = os.getpid()
        return Status(
            launcher=Recorded(LAUNCHER, me, identity(me)),
            phase=self._phase,
            processes=self._recorded(),
            databases={name: self.database_url(name) for name in self._databases if self._postgres_of(name).prepared},
            broker=self.broker_url,
            result_backend=self.result_backend_url,
            apis=self.apis,
        )

    @classmethod
    def lock_of(cls, state: Path) -> StateLock:
        """The lock on a state folder, which who starts or clears away anything there has to hold."""
        return StateLock(state, cls.a_noun, cls.stop_it)

    # Coming up and going down

    def start(self) -> None:
        """Bring everything up; return when all of it is ready.

        Raises LocalServersError when a port is in use or another one already runs in the state folder, StartFailed
        when a process does not come up, Interrupted after `interrupt`; everything is down again then.
        """
        if self._phase != "stopped":
            raise LocalServersError(f"This {self.noun} is {self._phase} already.")
        self._lock.acquire()
        self._phase = "starting"
        try:
            self._outputs, self._kept = {LAUNCHER: self._output(LAUNCHER)}, {}
            stop_leftovers(self.state, self._say)
            check_ports(self.ports, self.used_ports())
            self._write_status()
            self._start_servers()
            self._do_jobs()
            self._start_programs()
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
        for phase in stop_phases({name: kept.program.stop_phase for name, kept in self._kept.items()}):
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

    def _do_jobs(self) -> None:
        running = [self._add(make()) for make in self.jobs().values()]
        for kept in running:
            kept.start()
        for kept in running:
            kept.wait_done(START_WITHIN, self._interrupted)
            del self._kept[kept.name]

    def _start_programs(self) -> None:
        servers = list(self._kept.values())
        programs = [make() for make in self.programs().values()]
        self._wait_for(servers)
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

    # What others are told

    @property
    def names(self) -> tuple[str, ...]:
        """Of all processes, whether they run or not."""
        rabbitmq = ("epmd", "rabbitmq") if self._rabbitmq else ()
        postgres = (one.name for one in self._all_postgres)
        return (*postgres, "redis", *rabbitmq, *self.programs())

    def _say(self, line: str) -> None:
        if LAUNCHER in self._outputs:
            self._outputs[LAUNCHER].add(line)

    def _write_status(self) -> None:
        """After every change of a process. Once all has stopped, a late change writes nothing."""
        with self._status_lock:
            if self._phase != "stopped":
                write_status(self.state, self.status())

    def _recorded(self) -> tuple[Recorded, ...]:
        """In the order of `names`, jobs last."""
        kept = dict(self._kept)
        order = [name for name in self.names if name in kept]
        return tuple(_recorded(kept[name]) for name in dict.fromkeys([*order, *kept]))


def _recorded(kept: Kept) -> Recorded:
    run, program = kept.run, kept.program
    pid, known = (run.pid, run.identity) if run else (None, None)
    return Recorded(kept.name, pid, known, program.port, program.stop_phase, int(program.stop_signal))
