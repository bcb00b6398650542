"""The removal by 1, 2 and 4 worker processes of each role a service."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from benchmarks.contenders.ours import Ours
from benchmarks.figures import Run
from benchmarks.measure import Bench
from benchmarks.options import Options
from benchmarks.workloads.attempt import attempt

NAME = "workers"


def runs(options: Options) -> Iterator[Run]:
    for number in range(1, options.rounds + 1):
        for workers in options.workers:
            label = f"{workers} worker{'s' * (workers > 1)} a service"
            with options.folder(label) as folder:
                make = partial(Ours, folder, options.environment, workers)
                yield attempt(NAME, label, number, make, options, measure_saturation)


def measure_saturation(bench: Bench, options: Options, run: Run) -> None:
    saturated, clients = bench.saturated()
    run.notes |= {"clients": clients, "removals": len(saturated.done.answers), "answers": dict(saturated.done.words)}
    run.figures |= {"removals/s": saturated.rate, **saturated.costs()}
