"""``python -m tests.crash.soak --minutes 2 --seed 1 [--broker rabbitmq] [--clients 12] [--pause 3]
[--proxy | --pgbouncer] [--evict 6mb]``

A random workload from many clients under a random schedule of faults, its history written down, and the independent
checker's verdict over it. The same seed repeats the same choices (not the same interleaving).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from celery_config.manifest import COORDINATORS, SERVICES
from embedded.driver import Driver
from embedded.shop import Shop
from tests.broker.databases import Databases
from tests.broker.waiting import wait_until

from .checker import check
from .clients import Client, Market
from .eviction import Evicting
from .faults import Faults
from .history import History
from .pgbouncer import Poolers
from .proxy import Network
from .termination import end_by_exception

QUIET_WITHIN = 120.0


def soak(
    minutes: float,
    seed: str,
    broker: str,
    clients: int,
    pause: float,
    folder: Path,
    proxy: bool = False,
    pgbouncer: bool = False,
    evict: str | None = None,
) -> dict[str, Any]:
    """Run one soak in `folder`. Returns its figures; ``violations`` is what the checker found.

    `proxy`: the processes reach their servers through a network that is broken too. `pgbouncer`: they reach their
    databases through poolers. `evict`: all that Redis may hold (``6mb``); it throws away what it likes beyond.
    """
    points = folder / "points"
    points.mkdir(parents=True)
    history = History(folder / "history.jsonl")
    # Retries of removals and the like end in the time of a soak, and nothing is cut off by the deadline unseen.
    environment = {"ATOMIC_FAILPOINTS": str(points), "TASK_EVENTS": "off"}
    with contextlib.ExitStack() as stack:
        network = stack.enter_context(Network()) if proxy else None
        poolers = stack.enter_context(Poolers()) if pgbouncer else None
        route = network.route if network else poolers.route if poolers else None
        shop = stack.enter_context(
            Shop(folder / "shop", broker=broker, flower=False, environment=environment, route=route)
        )
        evicting = stack.enter_context(Evicting(shop.result_backend_url, evict)) if evict else None
        market = Market(Driver(shop.url), history)
        stop_clients, stop_faults = threading.Event(), threading.Event()
        people = [Client(market, f"{seed}/{number}", stop_clients) for number in range(clients)]
        faults = Faults(shop, broker, points, history, seed, pause, stop_faults, network)
        for thread in [*people, faults]:
            thread.start()
        _watch(minutes * 60, history, faults)
        stop_faults.set()
        faults.join()
        stop_clients.set()
        for person in people:
            person.join()
        for name in shop.names:
            shop.wait_ready(name)
        ended = time.time()
        databases = Databases(shop.admin_url)
        wrong = _wait_quiet(databases)
        quiet = time.time() - ended
        violations = [*wrong, *check(history.entries(), databases.rows)]
        history.close()
        if violations:
            _keep_evidence(shop, databases, folder)
        figures = _figures(databases, history, faults, seed, minutes, broker, quiet, violations)
        return {**figures, "evicted": evicting.keys} if evicting else figures


def _wait_quiet(databases: Databases) -> list[str]:
    def unfinished() -> list[dict[str, Any]]:
        return [
            row
            for service in COORDINATORS
            for row in databases.rows(service, "SELECT * FROM transactions WHERE settled_at IS NULL")
        ]

    try:
        wait_until(lambda: not unfinished() and not databases.prepared(), "the shop is quiet", QUIET_WITHIN, every=0.1)
    except AssertionError as error:
        left = unfinished()
        return [f"{error}: {len(left)} are not settled, for example {left[:3]}"]
    return []


def _watch(seconds: float, history: History, faults: Faults) -> None:
    """Show progress every ten seconds."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(10, left))
        asked = sum(n for what, n in history.counts.items() if what.split()[0] in ("place", "cancel", "remove"))
        done = sum(n for what, n in history.counts.items() if what in ("place 201", "cancel 200", "remove 200"))
        bad = sum(n for what, n in history.counts.items() if what.startswith("fault"))
        print(
            f"{max(left, 0):5.0f} s left: {asked} asked, {done} told yes, {bad} faults, {faults.kills} kills",
            flush=True,
        )


def _figures(
    databases: Databases,
    history: History,
    faults: Faults,
    seed: str,
    minutes: float,
    broker: str,
    quiet: float,
    violations: list[str],
) -> dict[str, Any]:
    transactions = {
        f"{row['kind']} {row['state']}": row["n"]
        for service in COORDINATORS
        for row in databases.rows(service, "SELECT kind, state, count(*) AS n FROM transactions GROUP BY 1, 2")
    }
    return {
        "seed": seed,
        "minutes": minutes,
        "broker": broker,
        "cores": os.cpu_count(),
        "transactions": sum(transactions.values()),
        "by_kind": transactions,
        "faults": {what.split()[1]: n for what, n in history.counts.items() if what.startswith("fault")},
        "kills": faults.kills,
        "answers": {what: n for what, n in sorted(history.counts.items()) if not what.startswith("fault")},
        "quiet_after": round(quiet, 2),
        "violations": violations,
    }


def _keep_evidence(shop: Shop, databases: Databases, folder: Path) -> None:
    for service in SERVICES:
        for table in ("transactions", "transaction_branches", "branch_rows"):
            rows = databases.rows(service, f"SELECT * FROM {table}")
            (folder / f"{service}.{table}.json").write_text(json.dumps(rows, default=str, indent=0))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crash.soak", description=(__doc__ or "").split("\n\n")[1])
    parser.add_argument("--minutes", type=float, default=2)
    parser.add_argument("--seed", default="1")
    parser.add_argument("--broker", choices=("redis", "rabbitmq"), default="redis")
    parser.add_argument("--clients", type=int, default=12)
    parser.add_argument("--pause", type=float, default=2.0, help="mean seconds between faults")
    way = parser.add_mutually_exclusive_group()
    way.add_argument("--proxy", action="store_true", help="break connections between processes and servers too")
    way.add_argument("--pgbouncer", action="store_true", help="poolers in transaction mode before the databases")
    parser.add_argument("--evict", metavar="SIZE", help="let Redis throw away what it likes beyond so much memory")
    parser.add_argument("--folder", type=Path, help="where history and logs go")
    parser.add_argument("--out", type=Path, help="append the figures to this file, as a JSON line")
    chosen = parser.parse_args()
    end_by_exception()
    folder = chosen.folder or Path(tempfile.mkdtemp(prefix="soak-"))
    figures = soak(
        chosen.minutes,
        chosen.seed,
        chosen.broker,
        chosen.clients,
        chosen.pause,
        folder,
        proxy=chosen.proxy,
        pgbouncer=chosen.pgbouncer,
        evict=chosen.evict,
    )
    print(json.dumps(figures, indent=1))
    print(f"history and logs: {folder}")
    if chosen.out:
        with open(chosen.out, "a") as out:
            out.write(json.dumps(figures) + "\n")
    return 1 if figures["violations"] else 0


if __name__ == "__main__":
    sys.exit(main())
