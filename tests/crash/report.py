"""The figures of a sweep, as tables for people. ``python -m tests.crash.report FILE…``"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

Result = dict[str, Any]

#: Points that only API processes reach when no fault has made recovery do their work.
_OF_APIS = ("begin.", "publish.before_attempt", "publish.after_attempt")


def table(results: Sequence[Result]) -> str:
    """How many were tried, fired and went wrong, and the seconds to quiet, by action."""
    groups: dict[str, Callable[[Result], bool]] = {
        action: lambda result, action=action: result["action"] == action  # type: ignore[misc]
        for action in sorted({result["action"] for result in results})
    }
    groups["only a worker died"] = _only_a_worker_died
    groups["all"] = lambda result: True
    head = "| action | tried | fired | wrong | from its begin: p50 s | p99 | max | from its end: p50 s | p99 | max |"
    lines = [head, "|---|" + "---|" * 9]
    lines += [_line(name, [result for result in results if belongs(result)]) for name, belongs in groups.items()]
    return "\n".join(lines)


def slowest(results: Sequence[Result], count: int = 10) -> str:
    """The injections that took longest from the fault's end to quiet."""
    fired = sorted((r for r in results if r["fired"]), key=lambda r: r["quiet_after"], reverse=True)
    names = ("action", "point", "kind", "ending", "delivery")
    return "\n".join(f"{r['quiet_after']:6.2f} s  " + ", ".join(str(r[name]) for name in names) for r in fired[:count])


def quiet_figures(results: Sequence[Result]) -> str:
    """Three columns: the seconds from the fault's end to quiet, p50, p99 and max."""
    return " | ".join(_figures(results, "quiet_after"))


def read(paths: Iterable[str]) -> list[Result]:
    """The results of earlier sweeps."""
    return [json.loads(line) for path in paths for line in Path(path).read_text().splitlines()]


def _only_a_worker_died(result: Result) -> bool:
    return result["action"] in ("kill", "kill-group") and not result["point"].startswith(_OF_APIS)


def _line(name: str, these: Sequence[Result]) -> str:
    fired = [result for result in these if result["fired"]]
    times = [*_figures(fired, "quiet_after_began"), *_figures(fired, "quiet_after")]
    return f"| {name} | {len(these)} | {len(fired)} | {sum(bool(r['wrong']) for r in these)} | {' | '.join(times)} |"


def _figures(fired: Sequence[Result], which: str) -> list[str]:
    times = sorted(result[which] for result in fired)
    return [f"{times[min(len(times) - 1, int(len(times) * share))]:.2f}" if times else "–" for share in (0.5, 0.99, 1)]


if __name__ == "__main__":
    read_results = read(sys.argv[1:])
    print(table(read_results))
    print("\nslowest, from the fault's end to quiet:")
    print(slowest(read_results))
