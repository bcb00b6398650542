"""Place orders for one product, all at once: ours, and the same engine with an attempt for each transaction, which is
one-at-a-time two-phase commit over Celery."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from functools import partial

from benchmarks.contenders.ours import ONE_AT_A_TIME, Ours
from benchmarks.counters import MemoryWatch, used
from benchmarks.figures import Run, percentile
from benchmarks.load import Done, Load
from benchmarks.load import run as run_load
from benchmarks.measure import Bench
from benchmarks.options import Options
from benchmarks.workloads.attempt import attempt

NAME = "hot product"
_PRODUCT = 1
_SETTLES_WITHIN = 700.0
_LABELS = {"ours": {}, "one at a time": ONE_AT_A_TIME}
_WARM_UP = 10
_SINCE_LAST = """
SELECT extract(epoch FROM clock_timestamp() - max(decided_at)) FROM transactions WHERE state = 'committed'
"""


def runs(options: Options) -> Iterator[Run]:
    for number in range(1, options.rounds + 1):
        for label, settings in _LABELS.items():
            with options.folder(label) as folder:
                make = partial(Ours, folder, {**options.environment, **settings})
                yield attempt(NAME, label, number, make, options, _measure)


def _measure(bench: Bench, options: Options, run: Run) -> None:
    """An order that is not placed is not asked for again: the share of these is a figure too."""
    clients = max(options.clients)
    users = bench.stock.add_users(clients, orders=0)
    guess = _place(bench, users, _WARM_UP, clients)
    bench.wrong += bench.contender.settle(_SETTLES_WITHIN)
    count = max(3 * clients, round(len(guess.answers) / (guess.ended - guess.began) * options.seconds))
    counters = bench.contender.counters
    stock_before, orders_before = _state(bench)
    before = counters.read()
    with MemoryWatch(counters.memory) as watch:
        done = _place(bench, users, count, clients)
        bench.wrong += bench.contender.settle(_SETTLES_WITHIN)
    after = counters.read()
    stock_after, orders_after = _state(bench)
    placed = orders_after - orders_before
    bench.wrong += _wrong(done.words, placed, stock_before - stock_after)
    run.notes |= {"answers": dict(done.words), "clients": clients}
    run.figures |= {
        "placed/s": placed / (_last_decision(bench) - done.began),
        "not placed": 1 - placed / count,
        **{f"p{p} ms": 1000 * percentile(done.latencies, p) for p in (50, 99)},
        **used(before, after, placed),
        **watch.figures(),
    }


def _place(bench: Bench, users: list[int], count: int, clients: int) -> Done:
    contender = bench.contender
    assert isinstance(contender, Ours)
    lines = [{"product_id": _PRODUCT, "quantity": 1}]
    items = [("POST", "/orders", {"user_id": users[n % len(users)], "lines": lines}) for n in range(count)]
    return run_load(Load(contender.caller("orders"), items, clients))


def _state(bench: Bench) -> tuple[int, int]:
    """The product's stock, and how many orders there are."""
    ((stock,),) = bench.stock.rows("products", "SELECT stock FROM products WHERE id = %s", _PRODUCT)
    ((orders,),) = bench.stock.rows("orders", "SELECT count(*) FROM orders")
    return stock, orders


def _wrong(answers: Counter[str], placed: int, taken: int) -> list[str]:
    wrong = [] if placed == taken else [f"{placed} orders were placed, {taken} pieces were taken out of stock"]
    if not answers["201"] <= placed <= answers["201"] + answers["202"] or not placed:
        wrong.append(f"{placed} orders were placed, the answers were {dict(answers)}")
    return wrong


def _last_decision(bench: Bench) -> float:
    """When the last order was placed, also where its client was told 202, on the clock of the answers."""
    ((ago,),) = bench.stock.rows("orders", _SINCE_LAST)
    return time.monotonic() - float(ago)
