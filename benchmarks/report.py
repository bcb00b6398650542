"""From the JSON of ``python -m benchmarks`` to tables and plots: ``python -m benchmarks.report FILE… [--docs FOLDER]``.

Without a folder the Markdown goes to the terminal. With one it is written there as ``<workload>.md`` with plots beside
it (PNG), for which matplotlib is needed: it is in ``.venv-bench``.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.figures import Run, Summary, summaries

#: The contender that the ratios are to.
REFERENCES = {"removal": "ours over HTTP", "hot product": "ours"}
#: The figures that are worth a picture.
PLOTTED = {
    "removal": (
        *("removals/s", "p50 ms, idle", "p99 ms, idle", "p50 ms, half load", "p99 ms, half load"),
        *("CPU s/1000, all", "peak MB, own", "SQL statements", "WAL flushes", "Redis commands"),
    ),
    "hot product": ("placed/s", "p50 ms", "p99 ms", "CPU s/1000, all"),
    "large user": ("s to the decision", "ms an order", "MB more than idle"),
    "backlog": (),
    "history": ("removals/s",),
    "workers": ("removals/s", "CPU s/1000, all"),
}


def read(files: Iterable[Path]) -> tuple[list[dict[str, Any]], list[Run]]:
    """The files' heads (command, machine), and all their runs."""
    documents = [json.loads(file.read_text()) for file in files]
    return documents, [Run(**run) for document in documents for run in document["runs"]]


def by_workload(runs: Iterable[Run]) -> dict[str, list[Run]]:
    found: dict[str, list[Run]] = {}
    for run in runs:
        found.setdefault(run.workload, []).append(run)
    return found


# ---- tables


def rows_of(runs: Sequence[Run]) -> tuple[list[str], list[list[str]]]:
    """Heads and rows of one workload's table: a row a figure, a column a contender, the median of the rounds, in
    brackets how many times the reference's."""
    reference = REFERENCES.get(runs[0].workload)
    found = summaries(runs, reference)
    names = list(dict.fromkeys(run.contender for run in runs))
    figures = list(dict.fromkeys(figure for name in names for figure in found.get(name, {})))
    rows = [
        [figure, *(_cell(found.get(name, {}).get(figure), name == reference) for name in names)] for figure in figures
    ]
    return ["", *names], rows


def _cell(summary: Summary | None, is_reference: bool) -> str:
    if summary is None:
        return "–"
    spread = f" ({shown(summary.low)}–{shown(summary.high)})" if summary.low != summary.high else ""
    ratio = f" ×{summary.ratio:.2f}" if summary.ratio is not None and not is_reference else ""
    return f"{shown(summary.median)}{spread}{ratio}"


def shown(value: float) -> str:
    """Three figures are more than such measurements are worth."""
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def what_was_wrong(runs: Sequence[Run]) -> list[str]:
    return [f"{run.contender}, round {run.round}: {'; '.join(run.wrong)}" for run in runs if run.wrong]


def as_text(workloads: Mapping[str, Sequence[Run]]) -> str:
    """Tables for a terminal."""
    blocks = []
    for name, runs in workloads.items():
        heads, rows = rows_of(runs)
        table = [heads, *rows]
        widths = [max(len(row[column]) for row in table) for column in range(len(heads))]
        lines = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in table]
        wrong = [f"wrong, no figures: {words}" for words in what_was_wrong(runs)]
        blocks.append("\n".join([f"\n{name}: medians of {_rounds(runs)} (lowest–highest)", *lines, *wrong]))
    return "\n".join(blocks)


def as_markdown(
    documents: Sequence[Mapping[str, Any]], workload: str, runs: Sequence[Run], plots: Sequence[str]
) -> str:
    """One workload's table, what it was measured with, and its plots."""
    heads, rows = rows_of(runs)
    reference = REFERENCES.get(workload)
    ratio = f"; × is to {reference}" if reference else ""
    table = [_row(heads), "|---" + "|---:" * (len(heads) - 1) + "|", *map(_row, rows)]
    told = [
        f"`{d['command']}`, {d['began'][:10]}: {d['machine']['cores']} cores ({d['machine']['processor']}),"
        f" {d['machine']['memory_gb']:g} GB, {d['machine']['system']}, Python {d['machine']['python']}."
        for d in documents
        if any(run["workload"] == workload for run in d["runs"])
    ]
    wrong = [f"- not right, so without figures: {words}" for words in what_was_wrong(runs)]
    pictures = [f"![{workload}]({plot})" for plot in plots]
    intro = f"Medians of {_rounds(runs)}, in brackets the lowest and the highest{ratio}."
    return "\n\n".join(part for part in (intro, "\n".join(table), "\n".join(wrong), *told, *pictures) if part) + "\n"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _rounds(runs: Sequence[Run]) -> str:
    rounds = len({run.round for run in runs})
    return f"{rounds} round{'s' * (rounds > 1)}"


# ---- plots


def plot(workload: str, runs: Sequence[Run], folder: Path) -> list[str]:
    """A picture of bars for each of ``PLOTTED`` and one for each series. Returns the names of the PNGs."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    made, found = [], summaries(runs, None)
    for figure in PLOTTED[workload]:
        having = {name: of[figure] for name, of in reversed(found.items()) if figure in of}
        if not having:
            continue
        picture, axes = pyplot.subplots(figsize=(7, 0.5 + 0.45 * len(having)))
        medians = [each.median for each in having.values()]
        spread = [[s.median - s.low for s in having.values()], [s.high - s.median for s in having.values()]]
        axes.barh(list(having), medians, xerr=spread, color="#4477aa", ecolor="#bb5566", capsize=3)
        axes.set_xlabel(figure)
        made.append(_saved(picture, folder, f"{workload} {figure}"))
    for series in dict.fromkeys(name for run in runs for name in run.series):
        picture, axes = pyplot.subplots(figsize=(7, 3.5))
        for run in (run for run in runs if series in run.series):
            axes.plot(*zip(*run.series[series], strict=True), label=f"{run.contender}, round {run.round}")
        axes.set(xlabel="seconds", ylabel=series)
        axes.legend(fontsize="small")
        made.append(_saved(picture, folder, f"{workload} {series}"))
    return made


def _saved(picture: Any, folder: Path, title: str) -> str:
    from matplotlib import pyplot

    name = "-".join("".join(c if c.isalnum() else " " for c in title).lower().split())
    picture.savefig(folder / f"{name}.png", bbox_inches="tight", dpi=100)
    pyplot.close(picture)
    return f"{name}.png"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description=__doc__)
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--docs", type=Path, help="write Markdown and plots into this folder")
    arguments = parser.parse_args()
    documents, runs = read(arguments.files)
    for workload, of_workload in by_workload(runs).items():
        if not arguments.docs:
            print(f"## {workload}\n\n{as_markdown(documents, workload, of_workload, [])}")
            continue
        arguments.docs.mkdir(parents=True, exist_ok=True)
        plots = plot(workload, of_workload, arguments.docs)
        text = as_markdown(documents, workload, of_workload, plots)
        (arguments.docs / f"{workload.replace(' ', '-')}.md").write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
