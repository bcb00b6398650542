"""Remove a user alone, beside clients who order for others, and beside clients who order for that very user."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

from benchmarks.contenders.ours import Ours
from benchmarks.figures import Run
from benchmarks.load import Load
from benchmarks.load import run as run_load
from benchmarks.measure import Bench
from benchmarks.options import Options
from benchmarks.workloads.attempt import attempt

NAME = "contended removal"
_CLIENTS = 64
_REMOVALS = 10
_SETTLES_WITHIN = 120.0
_WITHIN = 60.0
_MOST_A_SECOND = 2_000


def runs(options: Options) -> Iterator[Run]:
    label = f"a removal beside {_CLIENTS} clients"
    for number in range(1, options.rounds + 1):
        with options.folder(label) as folder:
            make = partial(Ours, folder, options.environment)
            yield attempt(NAME, label, number, make, options, _measure)


def _measure(bench: Bench, options: Options, run: Run) -> None:
    users = bench.stock.add_users(2 * _REMOVALS + 4)
    others = bench.stock.add_users(_CLIENTS, orders=0)
    for user in users[:4]:
        _removed(bench, user)
    alone = [_removed(bench, user) for user in users[4 : 4 + _REMOVALS]]
    beside_others = [_removed_beside(bench, bench.stock.add_users(1)[0], others) for _ in range(_REMOVALS)]
    beside_own = [_removed_beside(bench, user, [user] * _CLIENTS) for user in users[4 + _REMOVALS :]]
    bench.wrong += bench.contender.settle(_SETTLES_WITHIN) + _left_behind(bench)
    figures = {"alone": alone, "beside others' orders": beside_others, "beside own orders": beside_own}
    medians = {name: statistics.median(found) for name, found in figures.items()}
    run.notes |= {name: [round(value, 3) for value in found] for name, found in figures.items()}
    run.figures |= {
        "times alone": medians["beside own orders"] / medians["alone"],
        "times beside others'": medians["beside own orders"] / medians["beside others' orders"],
        **{f"ms {name}": 1000 * found for name, found in medians.items()},
        "worst ms beside own orders": 1000 * max(beside_own),
    }


def _removed_beside(bench: Bench, user: int, whose: list[int]) -> float:
    """Seconds of a removal while as many clients as `whose` order, each for one of them."""
    contender = bench.contender
    assert isinstance(contender, Ours)
    items = [_order(user, 1 + n) for n, user in enumerate(whose)] * _MOST_A_SECOND
    errors: list[BaseException] = []

    def order() -> None:
        try:
            run_load(Load(contender.caller("orders"), items, len(whose), seconds=6))
        except BaseException as error:
            errors.append(error)

    ordering = threading.Thread(target=order)
    ordering.start()
    time.sleep(2)
    took = _removed(bench, user)
    ordering.join()
    bench.wrong += [f"while they ordered: {error}" for error in errors]
    return took


def _order(user: int, product: int) -> Any:
    return ("POST", "/orders", {"user_id": user, "lines": [{"product_id": product, "quantity": 1}]})


def _removed(bench: Bench, user: int) -> float:
    """Seconds until the user is removed. Whoever is told to try again does so at once."""
    contender = bench.contender
    assert isinstance(contender, Ours)
    ask, began = contender.caller().open(), time.monotonic()
    while (answer := ask(contender.removal(user))) == "503" and time.monotonic() < began + _WITHIN:
        pass
    if answer != "200":
        bench.wrong.append(f"the removal of user {user} was answered {answer}")
    return time.monotonic() - began


def _left_behind(bench: Bench) -> list[str]:
    """Open orders of users that are not there any more."""
    there = [id for (id,) in bench.stock.rows("users", "SELECT id FROM users")]
    ((count,),) = bench.stock.rows(
        "orders", "SELECT count(*) FROM orders WHERE status = 'open' AND NOT user_id = ANY(%s)", there
    )
    return [f"{count} open orders of removed users"] if count else []
