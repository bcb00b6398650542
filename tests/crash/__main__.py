"""``python -m tests.crash [--broker redis|rabbitmq] [--short | --shared] [--shard K/N] [--limit N] [--out FILE]``

With ``--failover`` another instrument: databases that fail over to their standbys (``failover``).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from embedded.shop import Shop

from .failover import main as fail_over
from .failover_plan import MODES
from .injections import Injection, all_injections, shared_injections, short_sweep
from .report import table
from .sweep import Sweep
from .termination import end_by_exception


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description="The sweep of all failpoints.")
    parser.add_argument("--broker", choices=("redis", "rabbitmq"), default="redis")
    parser.add_argument("--short", action="store_true", help="every point killed once")
    parser.add_argument("--shared", action="store_true", help="at attempts that several transactions share")
    parser.add_argument("--only", default="", help="only those whose description contains this, for example kill")
    parser.add_argument("--shard", default="0/1", help="K/N: every N-th injection, from the K-th")
    parser.add_argument("--skip", type=int, default=0, help="go on after so many, where a sweep was cut short")
    parser.add_argument("--limit", type=int, help="at most so many")
    parser.add_argument("--out", type=Path, help="where the results go, a JSON line each")
    failovers = parser.add_argument_group("failovers of the databases")
    failovers.add_argument("--failover", action="store_true", help="do these; --only names a service then")
    failovers.add_argument("--mode", choices=MODES, help="standbys that are waited for, or behind; both without it")
    failovers.add_argument("--rounds", type=int, default=6, help="so many in each mode")
    failovers.add_argument("--seed", default="1")
    chosen = parser.parse_args()
    end_by_exception()
    if chosen.failover:
        return fail_over(chosen)
    part, parts = (int(number) for number in chosen.shard.split("/"))
    injections = (one for one in _injections(chosen) if chosen.only in str(one))
    mine = islice(islice(islice(injections, part, None, parts), chosen.skip, None), chosen.limit)
    state = Path(tempfile.mkdtemp(prefix="crash-"))
    out = chosen.out or state / "results.jsonl"
    points = state / "points"
    began = time.monotonic()
    with (
        open(out, "a") as results_file,
        Shop(state, broker=chosen.broker, flower=False, environment={"ATOMIC_FAILPOINTS": str(points)}) as shop,
    ):
        results = Sweep(shop, chosen.broker, points).run(mine, results_file)
    print(table(results))
    print(f"{time.monotonic() - began:.0f} s; results in {out}")
    missed = [result["point"] for result in results if not result["fired"]]
    if chosen.short and missed:
        print(f"not reached: {', '.join(missed)}")
        return 1
    return 1 if any(result["wrong"] for result in results) else 0


def _injections(chosen: argparse.Namespace) -> Iterator[Injection]:
    if chosen.short:
        return short_sweep()
    return shared_injections() if chosen.shared else all_injections()


sys.exit(main())
