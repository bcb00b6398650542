"""What every contender is to the harness, and what those have in common that stand on servers of their own."""

from __future__ import annotations

import multiprocessing
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

from benchmarks.counters import Counters
from benchmarks.load import Caller, Done, Http, Load, run
from benchmarks.stage import Servers
from benchmarks.stock import Stock
from embedded.settings import ROOT
from local_servers.settings import HOST, free_port

#: Where packages are installed that only contenders need.
BENCH_PYTHON = str(ROOT / ".venv-bench" / "bin" / "python")
#: As in the shop: a service has a worker with eight threads and an outcome worker with four.
THREADS = {"worker": 8, "outcome-worker": 4}


class Contender(ABC):
    """Something that can remove users. ``with contender:`` it runs, on empty databases of its own."""

    name: ClassVar[str]
    clients_are_its_own: ClassVar[bool] = False
    """Its work, or a part of it, is done by the processes that the load runs in: their cost is its cost."""
    client_processes: ClassVar[int] = 1
    most_clients: ClassVar[int | None] = None
    has_latency: ClassVar[bool] = True
    removes: ClassVar[bool] = True
    """Whether users are gone after it; if not there is nothing to check."""
    can_refuse: ClassVar[bool] = True
    """Whether it takes everything back when the last service says no."""
    done: ClassVar[frozenset[str]] = frozenset({"200"})
    """Answers that mean that the work is done; "202" (accepted) as well, for who settles it afterwards."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        """`environment`: settings for its processes."""
        self.folder, self.settings = folder, dict(environment)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @abstractmethod
    def start(self) -> None: ...

    @abstractmethod
    def stop(self) -> None: ...

    @abstractmethod
    def admin_url(self, database: str) -> str: ...

    @property
    @abstractmethod
    def redis_port(self) -> int: ...

    @abstractmethod
    def pids(self) -> dict[str, list[int]]:
        """Group → pids of its processes, as the counters want them."""

    @abstractmethod
    def caller(self) -> Caller: ...

    def removal(self, user: int) -> Any:
        """What its caller takes for "remove this user"."""
        return ("DELETE", f"/users/{user}", None)

    def prepare(self, users: list[int]) -> None:  # noqa: B027  (most need nothing)
        """What has to be done beforehand so that these users can be removed; it is in no figure."""

    def remove(self, users: list[int], clients: int, rate: float | None = None) -> Done:
        """Have the users removed. Returns when all requests are answered."""
        clients = min(clients, self.most_clients or clients)
        items = [self.removal(user) for user in users]
        return run(Load(self.caller(), items, clients, min(clients, self.client_processes), rate))

    def settle(self, within: float) -> list[str]:
        """Wait for what is still under way when all is answered. Returns what is wrong."""
        return []

    @property
    def stock(self) -> Stock:
        return Stock(self.admin_url)

    @property
    def counters(self) -> Counters:
        return Counters(self.admin_url("postgres"), self.redis_port, self.pids)


class OnServers(Contender):
    """A contender with processes of its own on PostgreSQL and Redis."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        super().__init__(folder, environment)
        self.servers = Servers(folder)
        self.port = free_port()

    def start(self) -> None:
        try:
            self.servers.start()
            self.start_processes()
        except BaseException:
            self.servers.stop()
            raise

    def start_processes(self) -> None:
        """Whatever it has beside the servers."""

    def stop(self) -> None:
        self.servers.stop()

    def environment(self) -> dict[str, str]:
        return {**self.servers.environment(), **self.settings}

    def admin_url(self, database: str) -> str:
        return self.servers.admin_url(database)

    @property
    def redis_port(self) -> int:
        return self.servers.redis_port

    def pids(self) -> dict[str, list[int]]:
        pids = self.servers.pids()
        if self.clients_are_its_own:
            pids["own"] += [child.pid for child in multiprocessing.active_children() if child.pid]
        return pids

    def caller(self) -> Caller:
        return Http(HOST, self.port)


def require_bench_python() -> str:
    """Raises SystemExit where the contenders' packages are not installed."""
    if not os.access(BENCH_PYTHON, os.X_OK):
        raise SystemExit(f"{BENCH_PYTHON} is missing: `make bench` makes it, or leave out the contenders that need it")
    return BENCH_PYTHON
