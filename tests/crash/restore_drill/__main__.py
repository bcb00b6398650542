"""``python -m tests.crash.restore_drill [--rounds 1] [--seed 1] [--older SERVICE]``

A shop under full load is backed up while it runs, destroyed, and put back from base backups and archived logs to a
restore point that all databases share: it must settle by itself, with nothing half done. Then once more, with one
service at an earlier point than the others: what that has cost must be named exactly.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from celery_config.manifest import SERVICES

from ..termination import end_by_exception
from .drill import Result, Round

_HEADS = (
    "round", "point after s", "answers before", "lost", "backup MB", "held ms", "Redis", "settled after s",
    "earlier", "named/expected lost", "violations", "took s",
)  # fmt: skip


def table(results: Sequence[Result]) -> str:
    """One row a round. ``settled after``: first all at one point, then one service earlier; – is "not in time"."""
    lines = [f"| {' | '.join(_HEADS)} |", f"|{'---|' * len(_HEADS)}"]
    for result in results:
        figures = (
            result.round,
            f"{result.when:.1f}",
            result.answers_before,
            result.answers_lost,
            f"{result.backup_mb:.0f}",
            f"{result.held_ms:.1f}",
            result.redis,
            " ".join("–" if seconds is None else f"{seconds:.1f}" for seconds in result.settled_after),
            result.older,
            f"{result.lost_named}/{result.lost_expected}",
            len(result.violations),
            f"{result.took:.0f}",
        )
        lines.append(f"| {' | '.join(str(figure) for figure in figures)} |")
    return "\n".join(lines)


def main() -> int:
    description = (__doc__ or "").split("\n\n")[1]
    parser = argparse.ArgumentParser(prog="python -m tests.crash.restore_drill", description=description)
    parser.add_argument("--rounds", type=int, default=1, help="in every second one Redis is lost as well")
    parser.add_argument("--seed", default="1")
    parser.add_argument("--older", choices=SERVICES, help="restored to an earlier point (unless given: each in turn)")
    parser.add_argument("--folder", type=Path, help="where backups, logs and evidence go")
    parser.add_argument("--out", type=Path, help="append each round's figures to this file, as a JSON line")
    chosen = parser.parse_args()
    end_by_exception()
    folder = chosen.folder or Path(tempfile.mkdtemp(prefix="restore-drill-"))
    results: list[Result] = []
    for number in range(1, chosen.rounds + 1):
        older = chosen.older or SERVICES[(number - 1) % len(SERVICES)]
        keeps = number % 2 == 1
        print(f"round {number} of {chosen.rounds}, seed {chosen.seed}: Redis is {'kept' if keeps else 'lost'}")
        results.append(Round(number, chosen.seed, older, keeps, folder / f"round-{number}").run())
        if chosen.out:
            with open(chosen.out, "a") as out:
                out.write(json.dumps(asdict(results[-1])) + "\n")
    print(table(results))
    wrong = [result for result in results if result.violations]
    print(f"backups, logs and evidence of what went wrong: {folder}" if wrong else "nothing went wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
