"""Statistics of what was measured: pure functions of numbers."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Run:
    """One measurement of one contender."""

    workload: str
    contender: str
    #: from 1
    round: int
    #: name with its unit → value; None: not measured
    figures: dict[str, float | None] = field(default_factory=dict)
    #: what was not as it must be, a sentence each; such a run has no figures: it did not do the work
    wrong: list[str] = field(default_factory=list)
    #: what is kept beside the figures, for people
    notes: dict[str, Any] = field(default_factory=dict)
    #: name → (seconds since the beginning, value)
    series: dict[str, list[tuple[float, float]]] = field(default_factory=dict)

    def drop_if_wrong(self) -> None:
        if self.wrong:
            self.figures, self.series = {}, {}


@dataclass(frozen=True)
class Summary:
    """One figure of one contender over all rounds, in the figure's unit."""

    median: float
    low: float
    high: float
    #: how many of them had the figure
    runs: int
    #: to the reference's median of the same figure; None: there is none, or it is 0
    ratio: float | None


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that so many percent of the values do not exceed. Raises ValueError where there are none."""
    if not values:
        raise ValueError("no values")
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def per_second(moments: Iterable[float], first: float, last: float) -> float:
    """How many of the moments fall in the span (first, last], a second of it."""
    return sum(first < moment <= last for moment in moments) / (last - first)


def rates_along(moments: Sequence[float], began: float, share: float = 0.1) -> tuple[float, float, float]:
    """Events a second among the first, the middle and the last `share` of the events."""
    ordered = sorted(moments)
    size = max(1, round(len(ordered) * share))
    marks = [began, *ordered]  # marks[n] is when n events had happened
    middle = (len(ordered) - size) // 2
    return tuple(  # type: ignore[return-value]
        _rate(size, marks[start + size] - marks[start]) for start in (0, middle, len(ordered) - size)
    )


def _rate(count: int, seconds: float) -> float:
    return count / seconds if seconds > 0 else math.inf


def summaries(runs: Sequence[Run], reference: str | None) -> dict[str, dict[str, Summary]]:
    """contender → figure → summary, contenders and figures in the order in which they first appear."""
    values: dict[str, dict[str, list[float]]] = {}
    for run in runs:
        for name, value in run.figures.items():
            of_figure = values.setdefault(run.contender, {}).setdefault(name, [])
            if value is not None:
                of_figure.append(value)
    medians = {name: statistics.median(found) for name, found in values.get(reference or "", {}).items() if found}
    return {
        contender: {
            name: Summary(
                statistics.median(found), min(found), max(found), len(found), _ratio(found, medians.get(name))
            )
            for name, found in figures.items()
            if found
        }
        for contender, figures in values.items()
    }


def _ratio(found: Sequence[float], reference: float | None) -> float | None:
    return statistics.median(found) / reference if reference else None
