"""Remove users who have three open orders of two lines each: every contender in turn, as many rounds as wished."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from benchmarks.contenders.registry import CONTENDERS
from benchmarks.figures import Run
from benchmarks.measure import Bench, costs_at
from benchmarks.options import Options
from benchmarks.workloads.attempt import attempt

NAME = "removal"


def runs(options: Options) -> Iterator[Run]:
    for number in range(1, options.rounds + 1):
        for key in options.contenders or CONTENDERS:
            kind = CONTENDERS[key]
            with options.folder(kind.name) as folder:
                make = partial(kind, folder, options.environment)
                yield attempt(NAME, kind.name, number, make, options, _measure)


def _measure(bench: Bench, options: Options, run: Run) -> None:
    saturated, clients = bench.saturated()
    run.notes |= {"clients": clients, "removals": len(saturated.done.answers), "answers": dict(saturated.done.words)}
    run.figures |= {"removals/s": saturated.rate}
    if bench.contender.has_latency:
        alone = bench.remove(options.one_at_a_time, 1, exactly=True)
        half = bench.remove(
            max(20, round(saturated.rate / 2 * options.seconds)), max(options.clients), rate=saturated.rate / 2
        )
        run.figures |= alone.latencies("idle") | half.latencies("half load") | costs_at("idle", alone.costs())
    run.figures |= saturated.costs()
    if bench.contender.can_refuse:
        bench.refuse()
