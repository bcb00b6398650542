"""Where the time of one removal goes when nothing else happens.

    python -m benchmarks.timeline --out timeline.json                        measures, and shows tables
    .venv-bench/bin/python -m benchmarks.timeline timeline.json --docs docs  draws what was measured

Removes users one at a time, ours and the nested wait in turn, and listens to Celery's task events meanwhile (they are
what Flower shows). From them comes when each task's message was sent, taken by its worker, begun and done, as medians
over all removals, counted from the request. Events cost something themselves, so the totals are also measured without.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from celery import Celery

from benchmarks.contenders.base import Contender
from benchmarks.contenders.nested_wait.contender import NestedWait
from benchmarks.contenders.ours import Ours
from benchmarks.figures import percentile
from benchmarks.machine import machine
from benchmarks.measure import Bench
from benchmarks.options import Options
from local_servers.settings import HOST

#: What Celery tells of a task that succeeds, in this order.
_STEPS = ("sent", "received", "started", "succeeded")
#: Removals before the first that counts; seconds between two, in which the last events of the one before arrive.
_WARM_UP, _APART = 30, 0.1


@dataclass(frozen=True)
class Task:
    """Median milliseconds since the request at which a task's message was sent, taken by its worker, begun and done."""

    name: str
    sent: float
    received: float
    started: float
    succeeded: float


@dataclass(frozen=True)
class Timeline:
    """One contender's tasks in the order in which they are sent; milliseconds until its client is answered (median)
    with events, and p50 and p99 without."""

    contender: str
    tasks: list[Task]
    answered: float
    p50: float
    p99: float


def timeline(kind: type[Contender], removals: int) -> Timeline:
    with_events, tasks = _measured(kind, removals, events=True)
    without, _ = _measured(kind, removals, events=False)
    return Timeline(
        kind.name,
        tasks,
        1000 * statistics.median(with_events),
        1000 * percentile(without, 50),
        1000 * percentile(without, 99),
    )


def _measured(kind: type[Contender], removals: int, *, events: bool) -> tuple[list[float], list[Task]]:
    """The seconds that each removal took, and its tasks if events were listened to."""
    with (
        tempfile.TemporaryDirectory(prefix="benchmark-") as folder,
        kind(Path(folder), {"TASK_EVENTS": "on" if events else "off"}) as contender,
        _listening(f"redis://{HOST}:{contender.redis_port}/0") as heard,
    ):
        spans = _one_at_a_time(contender, removals)[_WARM_UP:]
    return [ended - began for began, ended in spans], tasks_of(heard, [began for began, _ in spans])


def _one_at_a_time(contender: Contender, removals: int) -> list[tuple[float, float]]:
    """When each was asked for and answered."""
    users = Bench(contender, Options()).stock.add_users(_WARM_UP + removals)
    ask = contender.caller().open()
    spans = []
    for user in users:
        began = time.time()
        answer = ask(contender.removal(user))
        spans.append((began, time.time()))
        if answer not in contender.done:
            raise SystemExit(f"{contender.name}: a removal was answered with {answer}")
        time.sleep(_APART)
    return spans


@contextmanager
def _listening(broker: str) -> Iterator[list[dict[str, Any]]]:
    """Celery's events while the block runs, in a list that grows."""
    heard: list[dict[str, Any]] = []
    celery = Celery(broker=broker, set_as_current=False)
    with celery.connection() as connection:
        receiver = celery.events.Receiver(connection, handlers={"*": heard.append})
        thread = threading.Thread(target=receiver.capture, kwargs={"wakeup": False}, daemon=True)
        thread.start()
        try:
            yield heard
        finally:
            receiver.should_stop = True
            thread.join()


def tasks_of(heard: list[dict[str, Any]], began: Sequence[float]) -> list[Task]:
    """The medians over all removals; a task belongs to the removal before it."""
    moments: dict[str, dict[str, list[float]]] = {}
    for number, start in enumerate(began):
        end = began[number + 1] if number + 1 < len(began) else start + _APART
        within = [event for event in heard if start <= event["timestamp"] < end]
        for name, of_task in _by_name(within).items():
            for step, moment in of_task.items():
                moments.setdefault(name, {}).setdefault(step, []).append(1000 * (moment - start))
    tasks = [
        Task(name, *(statistics.median(found[step]) for step in _STEPS))
        for name, found in moments.items()
        if set(_STEPS) <= found.keys()
    ]
    return sorted(tasks, key=lambda task: task.sent)


def _by_name(events: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Task name → step → moment. The second task of a name has a 2 behind it, and so on."""
    names: dict[str, str] = {}
    seen: Counter[str] = Counter()
    for event in sorted(events, key=lambda event: event["timestamp"]):
        if "name" in event and event["uuid"] not in names:
            seen[event["name"]] += 1
            number = seen[event["name"]]
            names[event["uuid"]] = event["name"] + f" {number}" * (number > 1)
    found: dict[str, dict[str, float]] = {}
    for event in events:
        if event.get("uuid") in names:
            found.setdefault(names[event["uuid"]], {})[event["type"].removeprefix("task-")] = event["timestamp"]
    return found


# ---- what is shown


def as_text(lines: Sequence[Timeline]) -> str:
    """A Markdown table a contender."""
    blocks = []
    for line in lines:
        rows = [
            f"| {task.name} | {task.sent:.1f} | {task.received:.1f} | {task.started:.1f} | {task.succeeded:.1f} |"
            for task in line.tasks
        ]
        head = f"{line.contender}: answered after {line.answered:.1f} ms with events (median); without p50"
        blocks.append(
            "\n".join(
                [
                    f"{head} {line.p50:.1f} ms, p99 {line.p99:.1f} ms.",
                    "",
                    "| task | sent | received | started | succeeded |",
                    "|---|---:|---:|---:|---:|",
                    *rows,
                ]
            )
        )
    return "\n\n".join(blocks)


def draw(lines: Sequence[Timeline], folder: Path) -> None:
    """``removal-timeline.png``: for each task how long its message travelled and waited, and its work."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    picture, plots = pyplot.subplots(
        len(lines),
        figsize=(8, 0.9 * len(lines) + 0.3 * sum(len(line.tasks) for line in lines)),
        sharex=True,
        gridspec_kw={"height_ratios": [len(line.tasks) + 1 for line in lines]},
        squeeze=False,
    )
    for line, axes in zip(lines, plots[:, 0], strict=True):
        names = [task.name for task in line.tasks]
        for label, color, first, last in (
            ("sent, not yet with the worker", "#ddcc77", "sent", "received"),
            ("waits for a thread", "#cc6677", "received", "started"),
            ("runs, and sends what comes next", "#4477aa", "started", "succeeded"),
        ):
            left = [getattr(task, first) for task in line.tasks]
            width = [getattr(task, last) - start for task, start in zip(line.tasks, left, strict=True)]
            axes.barh(names, width, left=left, color=color, label=label, height=0.6)
        axes.axvline(line.answered, color="#333333", linestyle="--", label="the client is answered")
        axes.set_title(f"{line.contender}: one removal on an idle system", fontsize="medium", loc="left")
        axes.invert_yaxis()
    plots[0, 0].set_xlim(left=0)
    plots[0, 0].legend(fontsize="x-small", loc="lower left")
    plots[-1, 0].set_xlabel("ms since the request (medians, with task events on)")
    picture.savefig(folder / "removal-timeline.png", bbox_inches="tight", dpi=100)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.timeline", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("measured", type=Path, nargs="?", help="what was measured before; otherwise it is measured now")
    parser.add_argument("--removals", type=int, default=200)
    parser.add_argument("--out", type=Path, help="keep what was measured in this JSON file")
    parser.add_argument("--docs", type=Path, help="draw into this folder (needs matplotlib, which is in .venv-bench)")
    arguments = parser.parse_args()
    if arguments.measured:
        lines = [_read(line) for line in json.loads(arguments.measured.read_text())["timelines"]]
    else:
        lines = [timeline(kind, arguments.removals) for kind in (Ours, NestedWait)]
    print(as_text(lines))
    if arguments.out:
        found = {"machine": machine(), "removals": arguments.removals, "timelines": [asdict(line) for line in lines]}
        arguments.out.write_text(json.dumps(found, indent=1))
    if arguments.docs:
        draw(lines, arguments.docs)
    return 0


def _read(line: dict[str, Any]) -> Timeline:
    return Timeline(**{**line, "tasks": [Task(**task) for task in line["tasks"]]})


if __name__ == "__main__":
    sys.exit(main())
