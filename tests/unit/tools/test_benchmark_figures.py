"""The statistics of the benchmarks: what a table says follows from what was measured, and from nothing else."""

from __future__ import annotations

from collections import Counter

import pytest

from benchmarks.counters import Counts, used
from benchmarks.figures import Run, percentile, rates_along, summaries


@pytest.mark.parametrize(
    ("percent", "value"), [(0, 10), (1, 10), (25, 10), (26, 20), (50, 20), (75, 30), (99, 40), (100, 40)]
)
def test_a_percentile_is_a_value_that_was_measured(percent, value):
    assert percentile([40, 10, 30, 20], percent) == value


def test_a_percentile_of_nothing_is_an_error():
    with pytest.raises(ValueError, match="no values"):
        percentile([], 50)


def test_rates_along_tell_start_middle_and_end_apart():
    """Ten events: two a second at first, then one, and one in two seconds at the end."""
    moments = [100.5, 101, 102, 103, 104, 105, 106, 107, 109, 111]
    assert rates_along(moments, began=100, share=0.2) == (2.0, 1.0, 0.5)


def test_rates_along_count_the_wait_for_the_first_event():
    assert rates_along([110.0], began=100)[0] == pytest.approx(0.1)


def test_the_order_in_which_events_are_told_does_not_matter():
    assert rates_along([3.0, 1.0, 2.0], began=0) == rates_along([1.0, 2.0, 3.0], began=0)


def _run(contender: str, number: int, **figures: float | None) -> Run:
    return Run("removal", contender, number, dict(figures))


def test_a_summary_is_the_median_with_its_extremes_and_the_ratio_of_medians():
    runs = [_run("ours", 1, rate=10), _run("theirs", 1, rate=4), _run("ours", 2, rate=40)]
    runs += [_run("theirs", 2, rate=5), _run("ours", 3, rate=20), _run("theirs", 3, rate=6)]
    found = summaries(runs, "ours")
    assert (found["ours"]["rate"].median, found["ours"]["rate"].low, found["ours"]["rate"].high) == (20, 10, 40)
    assert found["theirs"]["rate"].ratio == pytest.approx(0.25)
    assert found["theirs"]["rate"].runs == 3


def test_what_was_not_measured_is_in_no_median():
    found = summaries(
        [_run("ours", 1, flushes=None), _run("ours", 2, flushes=7), _run("theirs", 1, flushes=None)], None
    )
    assert found["ours"]["flushes"].runs == 1
    assert found["theirs"] == {}


def test_there_is_no_ratio_to_a_reference_without_that_figure():
    found = summaries([_run("ours", 1, rate=None), _run("theirs", 1, rate=5)], "ours")
    assert found["theirs"]["rate"].ratio is None


def test_a_run_that_is_not_right_has_no_figures():
    run = _run("ours", 1, rate=10)
    run.series["decided"] = [(0.0, 1.0)]
    run.wrong.append("2 of 10 users are still there")
    run.drop_if_wrong()
    assert (run.figures, run.series) == ({}, {})


def test_a_run_that_is_right_keeps_its_figures():
    run = _run("ours", 1, rate=10)
    run.drop_if_wrong()
    assert run.figures == {"rate": 10}


def _counts(cpu: float, statements: int, commands: dict[str, int], evicted: int = 0) -> Counts:
    return Counts({"own": cpu, "postgres": 2 * cpu}, statements, 0, Counter(commands), evicted)


def test_costs_are_what_was_added_for_each_transaction():
    cost = used(_counts(1.0, 100, {"get": 5}), _counts(3.0, 500, {"get": 25, "set": 20}), 200)
    assert cost["CPU s/1000, own"] == pytest.approx(10)
    assert cost["CPU s/1000, all"] == pytest.approx(30)
    assert cost["SQL statements"] == pytest.approx(2)
    assert cost["Redis commands"] == pytest.approx(0.2)


def test_statements_that_the_server_forgot_are_no_low_count():
    with pytest.raises(RuntimeError, match="forgot"):
        used(_counts(1.0, 100, {}), _counts(2.0, 50, {}, evicted=1), 10)
