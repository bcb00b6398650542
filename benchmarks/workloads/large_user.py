"""Remove one user with very many open orders: is the time linear in them, and the memory bounded?"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from benchmarks.contenders.ours import Ours
from benchmarks.counters import MemoryWatch, used
from benchmarks.figures import Run
from benchmarks.load import Load
from benchmarks.load import run as run_load
from benchmarks.measure import Bench
from benchmarks.options import Options
from benchmarks.workloads.attempt import attempt

NAME = "large user"
_WITHIN = 600.0
_TIMES = (
    "SELECT extract(epoch FROM decided_at - created_at)::float8, extract(epoch FROM settled_at - created_at)::float8,"
    " state, attempt FROM transactions ORDER BY created_at DESC LIMIT 1"
)


def runs(options: Options) -> Iterator[Run]:
    for number in range(1, options.rounds + 1):
        for orders in options.orders_of_one:
            label = f"{orders:,} open orders"
            with options.folder(label) as folder:
                make = partial(Ours, folder, options.environment)
                yield attempt(NAME, label, number, make, options, partial(_measure, orders))


def _measure(orders: int, bench: Bench, options: Options, run: Run) -> None:
    """Other users are removed first, so that every process has its connections and its code."""
    bench.remove(3, 1)
    contender, stock, counters = bench.contender, bench.stock, bench.contender.counters
    users = stock.add_users(1, orders)
    expected = stock.expected_after_removal(users)
    before = counters.read()
    with MemoryWatch(counters.memory, every=0.05) as watch:
        idle = watch.samples[0][1] if watch.samples else counters.memory()["own"]
        run_load(Load(contender.caller(), [contender.removal(users[0])], clients=1))
        bench.wrong += contender.settle(_WITHIN)
    after = counters.read()
    bench.wrong += stock.wrong_after_removal(users, orders, expected)
    ((decided, settled, state, attempts),) = stock.rows("users", _TIMES)
    run.notes |= {"state": state, "attempts": attempts}
    run.figures |= {
        "s to the decision": decided,
        "s until settled": settled,
        "ms an order": 1000 * decided / orders,
        "MB more than idle": (watch.peak["own"] - idle) / 1e6,
        **used(before, after, 1),
        **watch.figures(),
    }
