"""``make bench``, or ``python -m benchmarks``: measure, show a table, and keep everything in a JSON file.

    python -m benchmarks --quick                              does everything small, to see that it works
    python -m benchmarks removal --out removal.json           all contenders, in turn, three rounds
    python -m benchmarks removal --contenders ours,nested
    python -m benchmarks backlog --backlog 20000 --rounds 1
    python -m benchmarks.report removal.json --docs docs      Markdown and plots from it

Exits with 1 where something was not right: such a run has no figures.
"""

from __future__ import annotations

import argparse
import itertools
import json
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from benchmarks.contenders.registry import CONTENDERS
from benchmarks.figures import Run
from benchmarks.machine import machine
from benchmarks.options import Options
from benchmarks.report import as_text, by_workload
from benchmarks.workloads import (
    backlog,
    contended_removal,
    history,
    hot_product,
    large_user,
    refusals,
    removal,
    workers,
)

WORKLOADS: dict[str, Callable[[Options], Iterator[Run]]] = {
    "removal": removal.runs,
    "hot-product": hot_product.runs,
    "large-user": large_user.runs,
    "backlog": backlog.runs,
    "history": history.runs,
    "workers": workers.runs,
    "refusals": refusals.runs,
    "contended-removal": contended_removal.runs,
}

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

QUICK = Options(
    rounds=1,
    seconds=1.0,
    clients=(8,),
    one_at_a_time=10,
    settle=0.0,
    contenders=("ours", "nested", "dbos", "celery-saga", "direct-2pc", "raw-celery"),  # the backlog is from the journal
    orders_of_one=(50,),
    backlog=100,
    history=2_000,
    workers=(2,),
)


def main() -> int:
    arguments = _arguments()
    options = _options(arguments)
    for sig in _ENDING:
        signal.signal(sig, _end)
    document: dict[str, Any] = {
        "command": "python -m benchmarks " + " ".join(sys.argv[1:]),
        "machine": machine(),
        "began": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "runs": [],
    }
    runs: list[Run] = []
    chosen = arguments.workloads or list(WORKLOADS)
    for run in itertools.chain.from_iterable(WORKLOADS[name](options) for name in chosen):
        runs.append(run)
        _say(run)
        document["runs"].append(asdict(run))
        if arguments.out:
            arguments.out.write_text(json.dumps(document, indent=1))
    print(as_text(by_workload(runs)))
    return 1 if any(run.wrong for run in runs) else 0


def _end(*_: object) -> None:
    """By way of the contender's stop, which a second signal must not cut off."""
    for sig in _ENDING:
        signal.signal(sig, signal.SIG_IGN)
    sys.exit("told to end")


def _say(run: Run) -> None:
    head, *_ = [f"{name} {value:.4g}" for name, value in run.figures.items() if value is not None] or [""]
    words = "; ".join(run.wrong) if run.wrong else head
    print(f"{run.workload}, round {run.round}, {run.contender}: {words}", file=sys.stderr, flush=True)
    if "traceback" in run.notes:
        print(run.notes["traceback"], file=sys.stderr, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help=f"of {', '.join(WORKLOADS)}; all by default")
    parser.add_argument("--quick", action="store_true", help="everything small, in under three minutes")
    parser.add_argument("--out", type=Path, help="keep everything in this JSON file")
    parser.add_argument("--keep", type=Path, help="leave contenders' data and logs in this folder")
    parser.add_argument("--contenders", type=_words(CONTENDERS), help=f"of {', '.join(CONTENDERS)}; all by default")
    parser.add_argument("--rounds", type=int, help="how often everything is measured, in turn (3)")
    parser.add_argument("--seconds", type=float, help="how long the clients of one measurement work, about (20)")
    parser.add_argument("--clients", type=_numbers, help="numbers of clients to choose the best of (16,64,128)")
    parser.add_argument("--settle", type=float, help="silence before WAL flushes are read; 0 leaves them out (11)")
    parser.add_argument("--one-at-a-time", type=int, help="removals on an idle system (300)")
    parser.add_argument("--orders-of-one", type=_numbers, help="sizes of the large user (1000,3000,10000)")
    parser.add_argument("--backlog", type=int, help="accepted requests in the backlog (100000)")
    parser.add_argument("--history", type=int, help="settled transactions of the long history (1000000)")
    parser.add_argument("--workers", type=_numbers, help="workers of each role a service (1,2,4)")
    parser.add_argument(
        "--env", action="append", default=[], metavar="NAME=VALUE", help="a setting for contenders' processes"
    )
    arguments = parser.parse_args()
    unknown = [name for name in arguments.workloads if name not in WORKLOADS]
    if unknown:
        parser.error(f"no workload is called {', '.join(unknown)}; there are {', '.join(WORKLOADS)}")
    return arguments


def _options(arguments: argparse.Namespace) -> Options:
    names = ("rounds", "seconds", "clients", "settle", "one_at_a_time", "orders_of_one", "backlog", "history")
    chosen = {name: getattr(arguments, name) for name in (*names, "workers", "contenders", "keep")}
    environment = dict(word.split("=", 1) for word in arguments.env)
    told = {name: value for name, value in chosen.items() if value is not None}
    return replace(QUICK if arguments.quick else Options(), environment=environment, **told)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(word) for word in text.split(","))


def _words(known: dict[str, Any]) -> Callable[[str], tuple[str, ...]]:
    def words(text: str) -> tuple[str, ...]:
        chosen = tuple(text.split(","))
        if unknown := set(chosen) - set(known):
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: there is only {', '.join(known)}")
        return chosen

    return words


if __name__ == "__main__":
    sys.exit(main())
