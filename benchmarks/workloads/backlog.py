"""A long queue of accepted requests: how fast it is worked off at its start, in its middle and at its end, and what
that takes in memory."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from benchmarks.contenders.from_journal import FromJournal
from benchmarks.counters import MemoryWatch, used
from benchmarks.figures import Run, rates_along
from benchmarks.measure import Bench
from benchmarks.options import Options
from benchmarks.stock import ORDERS
from benchmarks.workloads.attempt import attempt

NAME = "backlog"
_WITHIN = 6 * 3600.0
#: A queue of hours is no reason to give up what was accepted.
_PATIENT = {"ATOMIC_DEADLINE": "86400"}
_POINTS = 200


def runs(options: Options) -> Iterator[Run]:
    label = f"{options.backlog:,} accepted requests"
    for number in range(1, options.rounds + 1):
        with options.folder(label) as folder:
            make = partial(FromJournal, folder, {**_PATIENT, **options.environment})
            yield attempt(NAME, label, number, make, options, _measure)


def _measure(bench: Bench, options: Options, run: Run) -> None:
    contender, stock = bench.contender, bench.stock
    assert isinstance(contender, FromJournal)
    users = stock.add_users(options.backlog)
    expected = stock.expected_after_removal(users)
    contender.prepare(users)
    before = contender.counters.read()
    with MemoryWatch(contender.counters.memory, every=1.0) as watch:
        done = contender.drain(len(users), _WITHIN)
    after = contender.counters.read()
    bench.wrong += stock.wrong_after_removal(users, ORDERS, expected)
    began, moments = done.began, sorted(answer.ended for answer in done.answers)
    first, middle, last = rates_along(moments, began)
    run.notes |= {"answers": dict(done.words)}
    run.figures |= {
        "decisions/s": len(moments) / (moments[-1] - began),
        "first tenth, /s": first,
        "middle tenth, /s": middle,
        "last tenth, /s": last,
        **used(before, after, len(moments)),
        **watch.figures(),
    }
    every = max(1, len(moments) // _POINTS)
    run.series = {
        "decided": [(moment - began, float(n + 1)) for n, moment in enumerate(moments)][::every],
        "MB, own": [(at - began, size / 1e6) for at, size in watch.samples],
    }
