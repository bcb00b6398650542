"""``python -m tests.crash.servers [--broker redis|rabbitmq] [--only WORD] [--short] [--out FILE]``

Faults of servers and of the network between processes, on the running shop: after each one everything must be decided
and settled, the independent checker must find nothing in the whole history, and the shop must work.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, TextIO

from .machine_faults import machine_faults
from .server_faults import server_faults
from .stage import Fault, Stage
from .termination import end_by_exception

#: What the workload must have seen, or the verdicts say little: each operation done, and something refused.
_SEEN = ("place 201", "cancel 200", "remove 200", "place 409", "cancel 409")
#: So many faults are under way for long enough to see all that.
_MANY = 8


def run(chosen: Iterable[Fault], broker: str, folder: Path, out: TextIO) -> Iterator[dict[str, Any]]:
    """Do them all; one JSON line each to `out`. A shop in which something went wrong is not used again."""
    waiting, shops = list(chosen), 0
    while waiting:
        shops += 1
        here = folder / f"shop-{shops}"
        roots = waiting[0].roots
        with Stage(here, broker, roots(here)) as stage:
            while waiting and waiting[0].roots is roots:
                result = stage.run(waiting.pop(0))
                out.write(json.dumps(result) + "\n")
                out.flush()
                yield result
                if result["wrong"]:
                    (here / "last_words.txt").write_text(stage.last_words())
                    break


def table(results: list[dict[str, Any]]) -> str:
    """By kind: how many, how many went wrong, seconds to quiet, slowest answer, and what clients were told."""
    lines = [
        "| kind | faults | skipped | wrong | quiet p50 s | max s | slowest answer s | answers |",
        "|---|---|---|---|---|---|---|---|",
    ]
    by_kind = sorted(results, key=lambda result: result["kind"])
    for kind, those in groupby(by_kind, key=lambda result: result["kind"]):
        these = list(those)
        done = [result for result in these if "skipped" not in result]
        quiet = sorted(result["quiet_after"] for result in done if "quiet_after" in result)
        told: Counter[str] = Counter()
        for result in done:
            for answer, count in result["answers"].items():
                told[answer.split()[1]] += count
        figures = (
            len(these),
            len(these) - len(done),
            sum(bool(result["wrong"]) for result in these),
            quiet[len(quiet) // 2] if quiet else "–",
            quiet[-1] if quiet else "–",
            max((result["slowest"] for result in done), default="–"),
            " ".join(f"{status}×{count}" for status, count in sorted(told.items())),
        )
        lines.append(f"| {kind} | {' | '.join(str(figure) for figure in figures)} |")
    return "\n".join(lines)


def _tell(result: dict[str, Any]) -> None:
    how = "skipped: " + result["skipped"] if "skipped" in result else f"quiet after {result.get('quiet_after')} s"
    slowest = f", slowest answer {result['slowest']} s" if "slowest" in result else ""
    print(f"{'WRONG ' if result['wrong'] else ''}{result['fault']}: {how}{slowest}", flush=True)
    for what in result["wrong"]:
        print(f"    {what[:2000]}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crash.servers", description=(__doc__ or "").split("\n\n")[1])
    parser.add_argument("--broker", choices=("redis", "rabbitmq"), default="redis")
    parser.add_argument("--only", default="", help="faults whose name or kind contains this")
    parser.add_argument("--short", action="store_true", help="the most telling ones")
    parser.add_argument("--out", type=Path, help="where the results go, a JSON line each")
    given = parser.parse_args()
    chosen = [
        fault
        for fault in (*server_faults(given.broker), *machine_faults())
        if (given.only in fault.name or given.only in fault.kind) and (fault.short or not given.short)
    ]
    end_by_exception()
    folder = Path(tempfile.mkdtemp(prefix="servers-"))
    results = []
    with open(given.out or folder / "results.jsonl", "a") as out:
        for result in run(chosen, given.broker, folder, out):
            _tell(result)
            results.append(result)
    print(table(results))
    print(f"logs and histories: {folder}")
    done = [result for result in results if "skipped" not in result]
    answers = Counter[str]()
    for result in done:
        answers.update(result["answers"])
    missing = [answer for answer in _SEEN if not answers[answer]]
    thin = bool(missing) and len(done) >= _MANY
    if thin:
        print(f"no client was ever told {', '.join(missing)}: the workload was too thin to say anything")
    return 1 if thin or any(result["wrong"] for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
