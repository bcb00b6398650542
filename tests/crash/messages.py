"""``python -m tests.crash.messages [--broker redis|rabbitmq] [--only WORD]… [--out FILE]``: every fault of a message or
of a result, on the running shop."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from atomic_commit.workers.remote_control import VARIABLE
from embedded.shop import Shop
from tests.broker.shopkeeper import Shopkeeper

from .forgery import Forger
from .interception import Post
from .judge import judge
from .message_cases import Case, all_cases, deadline_cases
from .message_faults import FAULTS, Play
from .report import quiet_figures
from .termination import end_by_exception

#: What is silent is given up soon, and what waits for a lock sooner.
_SPEEDY = {"ATOMIC_PATIENCE": "1.5", "ATOMIC_LOCK_TIMEOUT": "0.5"}
_SMALL_DEADLINE = {**_SPEEDY, "ATOMIC_DEADLINE": "5"}


def play_case(keeper: Shopkeeper, post: Post, forger: Forger, case: Case) -> dict[str, Any]:
    """Play one case and judge. Returns the answer's status, seconds from the fault to quiet, and what was wrong."""
    wrong, answer, since = None, None, time.time()
    play = Play(keeper, post, forger, case)
    try:
        FAULTS[case.fault](play)
        since = time.time()
        play.wait_quiet()
        quiet_at = time.time()
        answer = play.answer()
        judge([play.scene], [answer], play.since)
        keeper.assert_whole()
        _judge_ending(case, play)
    except AssertionError as error:
        quiet_at, wrong = time.time(), f"{error}\n{keeper.report()}"
    finally:
        play.close()
    return {
        "status": answer.status if answer else None,
        "quiet_after": round(quiet_at - since, 3),
        "wrong": wrong,
    }


def _judge_ending(case: Case, play: Play) -> None:
    (row,) = play.rows()
    assert case.must in (None, row["state"]), f"it must be {case.must} and is {row['state']}"
    assert row["attempt"] >= case.attempts, f"it took {row['attempt']} attempts, at least {case.attempts} were expected"


def run(cases: Iterable[Case], broker: str, environment: dict[str, str], out: TextIO) -> list[dict[str, Any]]:
    """Play these cases on a shop of their own; one JSON line each to `out`. What goes wrong is recorded, not raised."""
    results: list[dict[str, Any]] = []
    state = Path(tempfile.mkdtemp(prefix="messages-"))
    obeying = {**environment, VARIABLE: "all"}  # the post tells them what to read
    with Shop(state, broker=broker, flower=False, environment=obeying) as shop:
        forger = Forger(shop.broker_url, shop.result_backend_url)
        with Post(shop.broker_url, shop.result_backend_url) as post:
            for case in cases:
                result = {**asdict(case), "broker": broker, **play_case(Shopkeeper(shop, broker), post, forger, case)}
                results.append(result)
                out.write(json.dumps(result) + "\n")
                out.flush()
                if result["wrong"]:
                    print(f"{case}: {result['wrong']}", flush=True)
        forger.close()
    return results


def table(results: list[dict[str, Any]]) -> str:
    """By fault: how many were tried, how many went wrong, and the time from fault to quiet."""
    lines = ["| fault | tried | wrong | quiet p50 s | p99 s | max s |", "|---|---|---|---|---|---|"]
    for fault in [*dict.fromkeys(result["fault"] for result in results), "all"]:
        these = [result for result in results if fault in (result["fault"], "all")]
        wrong = sum(bool(result["wrong"]) for result in these)
        lines.append(f"| {fault} | {len(these)} | {wrong} | {quiet_figures(these)} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crash.messages", description="Faults of messages, results.")
    parser.add_argument("--broker", choices=("redis", "rabbitmq"), default="redis")
    parser.add_argument("--only", action="append", default=[], help="only cases that have this word; may be repeated")
    parser.add_argument("--out", type=Path, help="where the results go, a JSON line each")
    chosen = parser.parse_args()
    end_by_exception()
    out = chosen.out or Path(tempfile.mkdtemp(prefix="messages-")) / "results.jsonl"
    began, results = time.monotonic(), []
    with open(out, "a") as results_file:
        for cases, environment in ((all_cases(), _SPEEDY), (deadline_cases(), _SMALL_DEADLINE)):
            mine = [case for case in cases if all(word in str(case) for word in chosen.only)]
            if mine:
                results += run(mine, chosen.broker, environment, results_file)
    print(table(results))
    print(f"{time.monotonic() - began:.0f} s; results in {out}")
    return 1 if not results or any(result["wrong"] for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
