"""Orders that can be placed, alone and beside orders that are refused: what the refused cost the others."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from typing import Any

from benchmarks.contenders.ours import Ours
from benchmarks.figures import Run, percentile
from benchmarks.load import Done, Load
from benchmarks.load import run as run_load
from benchmarks.measure import Bench
from benchmarks.options import Options
from benchmarks.workloads.attempt import attempt

NAME = "refusals"
_GOOD, _REFUSED = 32, 48
_SETTLES_WITHIN = 120.0
_SOLD_OUT = 1
#: More than anybody could ask for in a second.
_MOST_A_SECOND = 2_000


def runs(options: Options) -> Iterator[Run]:
    label = f"{_GOOD} clients beside {_REFUSED} who are refused"
    for number in range(1, options.rounds + 1):
        with options.folder(label) as folder:
            # all of the clients may wait: half of the threads are for that
            make = partial(Ours, folder, {"WEB_THREADS": "256", **options.environment})
            yield attempt(NAME, label, number, make, options, _measure)


def _measure(bench: Bench, options: Options, run: Run) -> None:
    """The same clients alone, beside the refused, and alone again: what the machine does meanwhile is in both of the
    figures that are compared."""
    users = bench.stock.add_users(_GOOD + _REFUSED, orders=0)
    bench.stock.rows("products", "UPDATE products SET stock = 0 WHERE id = %s", _SOLD_OUT)
    good = [_order(user, 100 + 50 * n) for n, user in enumerate(users[:_GOOD])]
    refused = [_order(user, _SOLD_OUT) for user in users[_GOOD:]]
    _ask(bench, good, options.probe)
    before = _ask(bench, good, options.seconds)
    beside, noes = _both(bench, good, refused, options.seconds)
    after = _ask(bench, good, options.seconds)
    alone = [*before.latencies, *after.latencies]
    rate_alone, rate = (_rate(before) + _rate(after)) / 2, _rate(beside)
    p95_alone, p95 = percentile(alone, 95), percentile(beside.latencies, 95)
    run.notes |= {"answers": [dict(done.words) for done in (before, beside, noes, after)]}
    bench.wrong += _wrong(beside, "201") + _wrong(before, "201") + _wrong(after, "201") + _wrong(noes, "409")
    bench.wrong += bench.contender.settle(_SETTLES_WITHIN)
    run.figures |= {
        "share of the rate": rate / rate_alone,
        "times the p95": p95 / p95_alone,
        "placed/s alone": rate_alone,
        "placed/s beside": rate,
        "p95 ms alone": 1000 * p95_alone,
        "p95 ms beside": 1000 * p95,
        "refused/s": _rate(noes),
        "p95 ms of the refused": 1000 * percentile(noes.latencies, 95),
    }


def _order(user: int, product: int) -> Any:
    return ("POST", "/orders", {"user_id": user, "lines": [{"product_id": product, "quantity": 1}]})


def _ask(bench: Bench, orders: list[Any], seconds: float) -> Done:
    """As many clients as orders, each of which asks for one after the other, for so long."""
    contender = bench.contender
    assert isinstance(contender, Ours)
    many = orders * round(_MOST_A_SECOND * seconds / len(orders))
    return run_load(Load(contender.caller("orders"), many, len(orders), seconds=seconds))


def _both(bench: Bench, good: list[Any], refused: list[Any], seconds: float) -> tuple[Done, Done]:
    """The refused ask a little longer on both sides."""
    noes: list[Done] = []
    other = threading.Thread(target=lambda: noes.append(_ask(bench, refused, seconds + 4)))
    other.start()
    threading.Event().wait(2)
    beside = _ask(bench, good, seconds)
    other.join()
    if not noes:
        raise RuntimeError("the refused clients have ended early")
    return beside, noes[0]


def _rate(done: Done) -> float:
    return len(done.answers) / (done.ended - done.began)


def _wrong(done: Done, word: str) -> list[str]:
    return [] if set(done.words) == {word} else [f"answers: {dict(done.words)}, not {word} alone"]
