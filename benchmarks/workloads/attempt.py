"""One contender, started, measured and stopped; whatever goes wrong is in the run instead of its figures."""

from __future__ import annotations

import traceback
from collections.abc import Callable

from benchmarks.contenders.base import Contender
from benchmarks.figures import Run
from benchmarks.measure import Bench
from benchmarks.options import Options

Measure = Callable[[Bench, Options, Run], None]
"""Puts figures, notes and series into the run that it is given."""


def attempt(
    workload: str,
    label: str,
    number: int,
    make: Callable[[], Contender],
    options: Options,
    measure: Measure,
) -> Run:
    """The contender that `make` makes, measured by `measure` in round `number`."""
    run = Run(workload, label, number)
    try:
        with make() as contender:
            bench = Bench(contender, options)
            measure(bench, options, run)
            run.wrong += bench.wrong
    except Exception as error:
        run.wrong.append(f"{type(error).__name__}: {error}")
        run.notes["traceback"] = traceback.format_exc()
    run.drop_if_wrong()
    return run
