"""The figures of a sweep, as a table for people. ``python -m tests.crash.report FILE…``"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any


def table(results: Sequence[dict[str, Any]]) -> str:
    """By action: how many were tried, how many fired, how many went wrong, and the time from fault to quiet."""
    lines = ["| action | tried | fired | wrong | quiet p50 s | p99 s | max s |", "|---|---|---|---|---|---|---|"]
    actions = sorted({result["action"] for result in results})
    for action in [*actions, "all"]:
        these = [result for result in results if action in (result["action"], "all")]
        fired = [result for result in these if result["fired"]]
        times = sorted(result["quiet_after"] for result in fired)
        figures = [_at(times, share) for share in (0.5, 0.99, 1.0)]
        wrong = sum(bool(result["wrong"]) for result in these)
        lines.append(f"| {action} | {len(these)} | {len(fired)} | {wrong} | {' | '.join(figures)} |")
    return "\n".join(lines)


def read(paths: Iterable[str]) -> list[dict[str, Any]]:
    """The results of earlier sweeps."""
    return [json.loads(line) for path in paths for line in open(path)]


def _at(times: list[float], share: float) -> str:
    return f"{times[min(len(times) - 1, int(len(times) * share))]:.2f}" if times else "–"


if __name__ == "__main__":
    print(table(read(sys.argv[1:])))
