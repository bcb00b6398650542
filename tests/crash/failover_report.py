"""What came of failovers, for people: one as it ends, and all of them as a table."""

from __future__ import annotations

from typing import Any

from .failover_plan import MODES, Plan

Result = dict[str, Any]

#: How much of what went wrong is shown; all of it is in the results.
_LINES, _WIDTH = 20, 600


def tell(plan: Plan, result: Result) -> None:
    """Print what came of one failover as soon as it is known."""
    lost = "" if plan.synchronous else f", {result.get('named')} losses named, {result.get('silent')} silent"
    took = (
        f"writes after {result.get('writes_after')} s, quiet after {result.get('quiet_after')} s, {result['seconds']} s"
    )
    print(f"{'WRONG ' if result['wrong'] else ''}{plan}: {took}{lost}", flush=True)
    for what in result["wrong"][:_LINES]:
        print(f"    {what[:_WIDTH]}", flush=True)
    if len(result["wrong"]) > _LINES:
        print(f"    … and {len(result['wrong']) - _LINES} more, in the results", flush=True)
    for lines in result.get("stories", {}).values():
        print(*(f"    {line[:_WIDTH]}" for line in lines), sep="\n", flush=True)


_HEAD = (
    ("service", lambda r: " + ".join(r["services"])),
    ("mode", lambda r: r["mode"]),
    ("primary", lambda r: f"isolated {r['isolated']:g} s" if r["isolated"] else r["death"]),
    ("behind s", lambda r: ", ".join(f"{lag:g}" for lag in r["lags"])),
    ("log lost kB", lambda r: ", ".join(f"{lost / 1000:.0f}" for lost in r.get("forgotten_bytes", ())) or "–"),
    ("requests", lambda r: r.get("requests")),
    ("writes after s", lambda r: r.get("writes_after")),
    ("prepared longest s", lambda r: r.get("prepared_longest")),
    ("named", lambda r: r.get("named", 0)),
    ("silent", lambda r: r.get("silent", 0)),
    ("undone", lambda r: len(r.get("undone", ()))),
    ("quarantined", lambda r: len(r.get("in_quarantine", ()))),
    ("given twice", lambda r: len(r.get("given_twice", ()))),
    ("wrong", lambda r: len(r["wrong"])),
)


def table(results: list[Result]) -> str:
    """A row a failover."""
    lines = [f"| {' | '.join(name for name, _ in _HEAD)} |", "|---" * len(_HEAD) + "|"]
    lines += [f"| {' | '.join(str(show(result)) for _, show in _HEAD)} |" for result in results]
    return "\n".join(lines)


def summary(results: list[Result]) -> str:
    """A line a mode."""
    lines = []
    for mode in MODES:
        those = [result for result in results if result["mode"] == mode]
        if not those:
            continue
        total = lambda name, those=those: sum(_count(result.get(name)) for result in those)  # noqa: E731
        wrong = sum(bool(result["wrong"]) for result in those)
        line = f"{mode}hronous: {len(those)} failovers, {wrong} of them wrong, {total('wrong')} violations"
        if mode == "async":
            what = (
                *("named", "silent", "undone", "overturned", "in_quarantine", "standing"),
                *("orphans", "unheld", "given_twice"),
            )
            line += "; " + ", ".join(f"{name.replace('_', ' ')} {total(name)}" for name in what)
        lines.append(line)
        lines += sorted({problem for result in those for problem in result.get("verify", ())})
    return "\n".join(lines)


def _count(value: Any) -> int:
    return len(value) if isinstance(value, list) else int(value or 0)
