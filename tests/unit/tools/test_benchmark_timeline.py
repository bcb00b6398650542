"""From Celery's events to the timeline of one removal."""

from __future__ import annotations

from typing import Any

from benchmarks.timeline import Task, tasks_of


def events(uuid: str, name: str, *moments: float) -> list[dict[str, Any]]:
    """Those of one task. Only the first two tell its name."""
    kinds = ("task-sent", "task-received", "task-started", "task-succeeded")
    told: list[dict[str, Any]] = [
        {"type": kind, "uuid": uuid, "timestamp": moment} for kind, moment in zip(kinds, moments, strict=True)
    ]
    for event in told[:2]:
        event["name"] = name
    return told


def test_medians_over_removals_counted_from_each_request() -> None:
    heard = [
        *events("1", "decide", 10.004, 10.005, 10.006, 10.008),
        *events("2", "decide", 20.002, 20.003, 20.004, 20.010),
        *events("3", "decide", 30.003, 30.004, 30.005, 30.009),
        {"type": "worker-heartbeat", "timestamp": 20.003},
    ]
    assert [rounded(task) for task in tasks_of(heard, [10.0, 20.0, 30.0])] == [("decide", 3, 4, 5, 9)]


def test_two_of_a_name_are_told_apart_by_when_they_were_sent() -> None:
    heard = [
        *events("late", "acknowledge", 10.004, 10.005, 10.006, 10.008),
        *events("early", "acknowledge", 10.001, 10.002, 10.003, 10.007),
    ]
    found = [rounded(task) for task in tasks_of(heard, [10.0])]
    assert found == [("acknowledge", 1, 2, 3, 7), ("acknowledge 2", 4, 5, 6, 8)]


def test_a_task_that_did_not_succeed_is_left_out() -> None:
    assert tasks_of(events("1", "decide", 10.004, 10.005, 10.006, 10.008)[:3], [10.0]) == []


def rounded(task: Task) -> tuple[str, int, int, int, int]:
    return (task.name, round(task.sent), round(task.received), round(task.started), round(task.succeeded))
