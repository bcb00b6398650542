"""The benchmarks' report: tables say what was measured, with what, and what was not right."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from benchmarks.figures import Run
from benchmarks.report import as_markdown, as_text, by_workload, read, rows_of, shown

MACHINE = {"cores": 2, "memory_gb": 25.3, "processor": "a processor", "system": "Linux 6", "python": "3.11.7"}


def run_of(contender: str, number: int, rate: float, wrong: tuple[str, ...] = ()) -> Run:
    run = Run("removal", contender, number, {"removals/s": rate, "WAL flushes": None}, list(wrong))
    run.drop_if_wrong()
    return run


RUNS = [
    *(run_of("ours over HTTP", 1, 10), run_of("nested wait", 1, 20)),
    *(run_of("ours over HTTP", 2, 30), run_of("nested wait", 2, 20)),
]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.01234, "0.0123"), (1.5, "1.5"), (99.96, "100"), (1234.5, "1,234"), (1_000_000, "1,000,000")],
)
def test_a_value_is_shown_with_three_figures(value, text):
    assert shown(value) == text


def test_a_row_a_figure_and_a_column_a_contender():
    heads, rows = rows_of(RUNS)
    assert heads == ["", "ours over HTTP", "nested wait"]
    assert rows == [["removals/s", "20 (10–30)", "20 ×1.00"]]


def test_a_contender_without_figures_keeps_its_column():
    heads, rows = rows_of([run_of("ours over HTTP", 1, 10), run_of("nested wait", 1, 99, ("3 users are left",))])
    assert heads[2] == "nested wait"
    assert rows == [["removals/s", "10", "–"]]


def test_what_was_not_right_is_said_on_the_terminal_and_in_the_document():
    runs = [run_of("ours over HTTP", 1, 10), run_of("nested wait", 2, 99, ("3 users are left",))]
    told = "nested wait, round 2: 3 users are left"
    assert told in as_text(by_workload(runs))
    assert told in as_markdown([], "removal", runs, [])
    assert "99" not in as_text(by_workload(runs))


def test_the_document_says_with_what_it_was_measured(tmp_path):
    head = {"command": "python -m benchmarks removal", "machine": MACHINE, "began": "2026-01-02T03:04:05Z"}
    file = tmp_path / "removal.json"
    file.write_text(json.dumps({**head, "runs": [asdict(run) for run in RUNS]}))
    documents, runs = read([file])
    assert runs == RUNS
    text = as_markdown(documents, "removal", runs, ["removals.png"])
    assert "`python -m benchmarks removal`, 2026-01-02: 2 cores (a processor), 25.3 GB, Linux 6, Python 3.11.7" in text
    assert "Medians of 2 rounds" in text
    assert "![removal](removals.png)" in text


def test_a_command_that_measured_something_else_is_not_named(tmp_path):
    other = {
        "command": "python -m benchmarks backlog",
        "machine": MACHINE,
        "began": "",
        "runs": [{"workload": "backlog"}],
    }
    assert "backlog" not in as_markdown([other], "removal", RUNS, [])
