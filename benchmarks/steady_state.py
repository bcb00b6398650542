"""What grows with work done: the whole shop for an hour at a fixed rate, and everything that could fill up, measured.

    python -m benchmarks.steady_state --minutes 60 --rate 10 --out steady.json

Memory, file descriptors and threads of every process and server; Redis's keys and what waits in queues; rows and sizes
of the protocol's tables, prepared transactions, the oldest snapshot; log files, Flower's history, the servers' own
files. Ages are shortened, so that an hour shows several lives of everything that is removed when it is old. The shop's
own rows (orders, users who are gone from the list but not from orders) grow: they are what the shop is for.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import shutil
import statistics
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg2
from redis import Redis

from benchmarks.machine import machine
from celery_config.manifest import SERVICES
from embedded.driver import Answer, Driver
from embedded.shop import Shop
from local_servers.identity import descendants

#: Seconds: everything that grows old has done so before the first half of an hour is over.
AGES = {"ATOMIC_DEADLINE": "60", "ATOMIC_KEEP_TRANSACTIONS": "300", "ATOMIC_KEEP_BRANCH_ROWS": "720"}
_SAMPLE_EVERY = 20.0
_CLIENTS = 16
_USERS, _PRODUCTS = 50, 20
PROTOCOL = ("transactions", "transaction_branches", "branch_rows", "local_calls")

Sample = dict[str, float]


def main() -> None:
    """Run it, and print what was measured in quarters of the time."""
    description = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.steady_state", description=description)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--rate", type=float, default=10.0, help="requests a second that change something")
    parser.add_argument("--out", type=Path, help="all samples, as JSON")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="steady-state-"))
    with Shop(folder, environment=AGES) as shop:
        samples, answers = _run(shop, 60 * arguments.minutes, arguments.rate)
    shutil.rmtree(folder)
    result = {"machine": machine(), "rate": arguments.rate, "answers": answers, "samples": samples}
    if arguments.out:
        arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    print(f"\nanswers: {answers}\n\n{table(samples)}")


def table(samples: Sequence[Sample]) -> str:
    """Each measured thing, averaged over each quarter of the time, as rows of Markdown. What is 0 throughout is left
    out."""
    quarters = [_means(part) for part in _quarters(samples)]
    lines = ["| | 1st quarter | 2nd | 3rd | 4th |", "|---|---|---|---|---|"]
    for name in samples[-1]:
        values = [quarter.get(name, 0.0) for quarter in quarters]
        if name != "minute" and any(values):
            lines.append(f"| {name} | " + " | ".join(f"{value:,.1f}" for value in values) + " |")
    return "\n".join(lines)


def _quarters(samples: Sequence[Sample]) -> list[Sequence[Sample]]:
    edges = [len(samples) * n // 4 for n in range(5)]
    return [samples[begin:end] for begin, end in itertools.pairwise(edges)]


def _means(samples: Sequence[Sample]) -> Sample:
    return {name: statistics.mean(sample.get(name, 0.0) for sample in samples) for name in samples[-1]}


def _run(shop: Shop, seconds: float, rate: float) -> tuple[list[Sample], dict[str, int]]:
    work, began = Work(shop), time.monotonic()
    samples: list[Sample] = []
    over = threading.Event()

    def measure() -> None:
        while not over.wait(_SAMPLE_EVERY):
            samples.append({"minute": (time.monotonic() - began) / 60, **sample(shop)})
            print(f"{samples[-1]['minute']:6.1f} min  {dict(work.answers)}", flush=True)

    measuring = threading.Thread(target=measure)
    measuring.start()
    with ThreadPoolExecutor(_CLIENTS) as clients:
        for number in range(int(seconds * rate)):
            time.sleep(max(0.0, began + number / rate - time.monotonic()))
            clients.submit(work.one, number)
    over.set()
    measuring.join()
    return samples, dict(work.answers)


class Work(Driver):
    """One request after the other: mostly orders that are placed, and cancelled or fulfilled a little later. What they
    are answered is counted."""

    def __init__(self, shop: Shop) -> None:
        super().__init__(shop.url)
        self.answers: Counter[str] = Counter()
        self._open: list[int] = []
        self._products = [self.add_product(stock=10**6) for _ in range(_PRODUCTS)]
        self._sold_out = self.add_product(stock=0)
        self._users = [self.add_user() for _ in range(_USERS)]

    def one(self, number: int) -> None:
        """The request of this number; what goes wrong is counted and does not end the run."""
        kinds = (self._place, self._place, self._finish, self._place, self._finish, self._stock, self._place)
        try:
            (self._replace_user if number % 50 == 7 else kinds[number % len(kinds)])(number)
        except Exception as error:
            self.answers[type(error).__name__] += 1

    def _place(self, number: int) -> None:
        product = self._products[number % _PRODUCTS] if number % 40 else self._sold_out
        answer = self.place_order(self._users[number % _USERS], {product: 1}, Idempotency_Key=f"order-{number}")
        if answer.status == 201:
            self._open.append(answer.order_id)

    def _finish(self, number: int) -> None:
        with contextlib.suppress(IndexError):
            finish = self.cancel_order if number % 2 else self.fulfil_order
            finish(self._open.pop(0))

    def _stock(self, number: int) -> None:
        self.change_stock(self._products[number % _PRODUCTS], 1, Idempotency_Key=f"stock-{number}")

    def _replace_user(self, number: int) -> None:
        place = number % _USERS
        leaving, self._users[place] = self._users[place], self.add_user()
        self.remove_user(leaving)

    def call(self, method: str, service: str, path: str, body: object = None, **headers: str) -> Answer:
        answer = super().call(method, service, path, body, **headers)
        self.answers[f"{method} {service} {answer.status}"] += 1
        return answer


# ---- what is measured


def sample(shop: Shop) -> Sample:
    """Everything that may grow, by name; memory in MB."""
    found: Sample = {}
    for name in shop.names:
        tree = [pid for root in [shop.pid(name)] for pid in (root, *descendants(root))]
        found[f"MB, {name}"] = sum(map(_proportional, tree)) / 1e6
        if not name.startswith("postgres"):
            found[f"open files, {name}"] = sum(_count(f"/proc/{pid}/fd") for pid in tree)
            found[f"threads, {name}"] = sum(_count(f"/proc/{pid}/task") for pid in tree)
    found |= dict(_redis(shop))
    for service in SERVICES:
        found |= dict(_database(shop, service))
    found["MB, log files (kept to 64 each)"] = _folder(shop.state / "logs") / 1e6
    found["MB, write-ahead log"] = _folder(shop.data_folder("postgres") / "pg_wal") / 1e6
    found["MB, Redis's files"] = _folder(shop.data_folder("redis")) / 1e6
    found["MB, Flower's history"] = _folder(shop.state / "flower") / 1e6
    return found


def _redis(shop: Shop) -> Iterator[tuple[str, float]]:
    with Redis.from_url(shop.result_backend_url) as redis:
        info: Any = redis.info()
        yield "MB, in use by Redis's data", info["used_memory"] / 1e6
        yield "results in Redis", float(str(redis.dbsize()))
        yield "clients of Redis", float(info["connected_clients"])
    with Redis.from_url(shop.broker_url) as redis:
        keys = [key.decode() for key in redis.scan_iter(count=1000)]
        yield "keys of the broker", float(len(keys))
        yield "messages waiting", float(sum(redis.llen(key) for key in keys if redis.type(key) == b"list"))
        yield "messages taken", float(sum(redis.zcard(k) for k in keys if k.endswith("unacked_index")))


def _database(shop: Shop, service: str) -> Iterator[tuple[str, float]]:
    with contextlib.closing(psycopg2.connect(shop.admin_url(service))) as connection, connection.cursor() as cursor:
        connection.autocommit = True

        def number(statement: str) -> float:
            cursor.execute(statement)
            return float(cursor.fetchone()[0] or 0)

        for one in PROTOCOL:
            yield f"rows, {service}.{one}", number(f"SELECT count(*) FROM {one}")
        sizes = " + ".join(f"pg_total_relation_size('{one}')" for one in PROTOCOL)
        yield f"MB, {service}: the protocol's tables", number(f"SELECT {sizes}") / 1e6
        yield f"MB, {service}: all of it", number("SELECT pg_database_size(current_database())") / 1e6
        yield (
            f"connections, {service}",
            number(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
            ),
        )
        yield (
            f"prepared, {service}",
            number("SELECT count(*) FROM pg_prepared_xacts WHERE database = current_database()"),
        )
        yield (
            f"oldest snapshot, transactions ago, {service}",
            number(
                "SELECT max(age(backend_xmin)) FROM pg_stat_activity WHERE datname = current_database()"
                " AND pid <> pg_backend_pid()"
            ),
        )
        yield f"not settled, {service}", number("SELECT count(*) FROM transactions WHERE settled_at IS NULL")


def _proportional(pid: int) -> float:
    """Bytes of memory, what is shared divided among those who share it."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return 1024.0 * int(line.split()[1])
    return 0.0


def _count(folder: str) -> int:
    with contextlib.suppress(OSError):
        return len(list(Path(folder).iterdir()))
    return 0


def _folder(path: Path) -> int:
    """Bytes of all files in it."""
    total = 0
    for file in path.rglob("*"):
        with contextlib.suppress(OSError):
            total += file.stat().st_size if file.is_file() else 0
    return total


if __name__ == "__main__":
    main()
