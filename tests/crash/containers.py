"""``python -m tests.crash.containers [--clients 4]``: lose each container of a running shop in turn, twice.

The shop is the one that ``docker compose up -d`` started, and empty. While random clients work,
each container is killed by the engine and started again after a moment, and then its process is killed from outside
(as root, where the engine is on this machine), so that only its restart policy brings it back. The independent checker
then judges what the clients were told by the rows.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from celery_config.manifest import COORDINATORS, PORTS, SERVICES
from embedded.driver import Driver
from tests.broker.waiting import wait_until

from .checker import check
from .clients import Client, Market
from .history import History, read

#: Seconds that a container is gone, long enough for clients and the others to meet its absence.
AWAY = 3.0
#: Seconds of work between two losses, so that the next one meets transactions under way.
BETWEEN = 2.0
BACK_WITHIN = 180.0
QUIET_WITHIN = 180.0


class Containers:
    """What the engine knows of one Compose project. Stands in for the launcher's shop where the clients ask for it."""

    def __init__(self, project: str, ports: Mapping[str, int]) -> None:
        self.project, self._ports = project, ports

    def url(self, service: str) -> str:
        return f"http://127.0.0.1:{self._ports[service]}"

    def running(self) -> dict[str, str]:
        """Name → service, for every container that is to stay up."""
        lines = docker(
            *("ps", "--filter", f"label=com.docker.compose.project={self.project}"),
            *("--filter", "label=com.docker.compose.oneoff=False"),
            *("--format", '{{.Names}} {{.Label "com.docker.compose.service"}}'),
        ).splitlines()
        return dict(sorted(line.split() for line in lines))

    def rows(self, database: str, statement: str) -> list[dict[str, Any]]:
        """As the superuser of that database's server; of all three for what is not in a database ("postgres")."""
        servers = SERVICES if database == "postgres" else (database,)
        return [row for server in servers for row in self._rows(server, database, statement)]

    def _rows(self, server: str, database: str, statement: str) -> list[dict[str, Any]]:
        wrapped = f"SELECT coalesce(json_agg(row_to_json(found)), '[]') FROM ({statement}) AS found"
        (name,) = [name for name, service in self.running().items() if service == f"{server}-db"]
        found = docker("exec", name, "psql", "-XAtq", "-U", "postgres", "-d", database, "-c", wrapped)
        return json.loads(found)


def docker(*words: str) -> str:
    return subprocess.run(["docker", *words], check=True, stdout=subprocess.PIPE, text=True).stdout


def state_of(name: str) -> dict[str, Any]:
    return json.loads(docker("inspect", "--format", "{{json .State}}", name))


def is_well(name: str) -> bool:
    state = state_of(name)
    return state["Running"] and state.get("Health", {}).get("Status", "healthy") == "healthy"


def kill_and_start(name: str) -> None:
    """The engine does not restart what it was told to kill."""
    docker("kill", name)
    time.sleep(AWAY)
    docker("start", name)


def kill_its_process(name: str) -> None:
    """As a crash would: the restart policy has to bring it back."""
    before = state_of(name)
    os.kill(before["Pid"], signal.SIGKILL)
    wait_until(lambda: state_of(name)["StartedAt"] != before["StartedAt"], f"{name} is restarted", BACK_WITHIN, 0.2)


def lose_each(shop: Containers, history: History) -> None:
    ways: list[Callable[[str], None]] = [kill_and_start]
    if os.geteuid() == 0:
        ways.append(kill_its_process)
    for name in shop.running():
        for way in ways:
            began = time.time()
            way(name)
            wait_until(lambda name=name: is_well(name), f"{name} is well again", BACK_WITHIN, 0.2)
            history.add("fault", began, status=way.__name__, container=name)
            print(f"{name}: {way.__name__}, well again after {time.time() - began:.1f} s", flush=True)
            time.sleep(BETWEEN)


def wait_quiet(shop: Containers) -> list[str]:
    def unfinished() -> list[dict[str, Any]]:
        return [
            row
            for service in COORDINATORS
            for row in shop.rows(service, "SELECT * FROM transactions WHERE settled_at IS NULL")
        ] + shop.rows("postgres", "SELECT gid FROM pg_prepared_xacts")

    try:
        wait_until(lambda: not unfinished(), "the shop is quiet", QUIET_WITHIN, every=0.5)
    except AssertionError as error:
        return [f"{error}: {unfinished()}"]
    return []


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crash.containers", description=__doc__)
    parser.add_argument("--project", default="shop", help="Compose's name for it")
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--seed", default="1")
    chosen = parser.parse_args()
    ports = {service: int(os.environ.get(f"{service.upper()}_PORT", port)) for service, port in PORTS.items()}
    shop = Containers(chosen.project, ports)
    history = History(Path(tempfile.mkdtemp(prefix="containers-")) / "history.jsonl")
    market, stop = Market(Driver(shop.url), history), threading.Event()
    people = [Client(market, f"{chosen.seed}/{number}", stop) for number in range(chosen.clients)]
    for person in people:
        person.start()
    try:
        lose_each(shop, history)
    finally:
        stop.set()
        for person in people:
            person.join()
    ended = time.time()
    wrong = wait_quiet(shop)
    quiet = time.time() - ended
    history.close()
    violations = [*wrong, *check(read(history.path), shop.rows)]
    print(json.dumps({"answers": history.counts, "quiet_after": round(quiet, 1), "violations": violations}, indent=1))
    print(f"history: {history.path}")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
