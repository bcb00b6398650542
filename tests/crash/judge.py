"""What must be true after every injection, whatever it was. Reads rows and answers only."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from celery_config.manifest import SERVICES
from embedded.driver import Answer

from .scenarios import Scene

Rows = list[dict[str, Any]]

_OURS = "SELECT * FROM transactions WHERE created_at >= %s ORDER BY created_at"
_TOLD = "SELECT name, attempt FROM transaction_branches WHERE transaction_id = %s"
_DONE = "SELECT branch, attempt, kind FROM branch_rows WHERE transaction_id = %s"


def judge(scenes: Sequence[Scene], answers: Sequence[Answer | None], since: Any) -> None:
    """Raise AssertionError unless the shop is whole and the clients were told the truth. Call it when all is quiet."""
    happened = [scene.happened() for scene in scenes]
    transactions = _transactions(scenes[0], since)
    committed = [t for t in transactions if t["state"] == "committed"]
    assert all(t["state"] != "preparing" and t["settled_at"] for t in transactions), f"not settled: {transactions}"
    assert not [t for t in transactions if t["quarantined_at"]], f"quarantined: {transactions}"
    assert len(committed) == sum(happened), f"rows say happened={happened}, journals say {committed}"
    told = _judge_branch_rows(scenes[0], transactions)
    first = [leader for leader, attempt in told if attempt == 1]
    assert len(scenes) == 1 or len(first) == 1, f"they did not share their first attempt: {transactions}"
    for scene, it_happened, answer in zip(scenes, happened, answers, strict=True):
        assert not (it_happened and scene.injection.ending == "refusal"), "what products refuses has happened"
        _judge_answer(answer, it_happened, transactions)


def _transactions(scene: Scene, since: Any) -> Rows:
    return scene.keeper.databases.rows(_service(scene), _OURS, since)


def _service(scene: Scene) -> str:
    return "users" if scene.injection.kind == "remove_user" else "orders"


def _judge_branch_rows(scene: Scene, transactions: Rows) -> set[tuple[Any, int]]:
    """Every branch of an attempt that somebody in it has committed was applied once; of any other attempt never, and it
    is fenced. Returns the attempts."""
    rows = scene.keeper.databases.rows
    committed = {_attempt(t) for t in transactions if t["state"] == "committed"}
    told, done, fenced = defaultdict(set), defaultdict(set), defaultdict(set)
    for id in {leader for leader, _ in map(_attempt, transactions)} | {t["id"] for t in transactions}:
        for row in rows(_service(scene), _TOLD, id):
            told[id, row["attempt"]].add(row["name"])
        for row in (row for service in SERVICES for row in rows(service, _DONE, id)):
            (done if row["kind"] == "done" else fenced)[id, row["attempt"]].add(row["branch"])
    for attempt in {*told, *done, *fenced, *committed}:
        every, nothing = told[attempt], set[str]()
        wanted = (every, nothing) if attempt in committed else (nothing, every)
        found = done[attempt], fenced[attempt]
        assert found == wanted, f"attempt {attempt}: branches (done, fenced) {found}, wanted {wanted}"
        assert every, f"attempt {attempt}: no branch was told"
    return set(told)


def _attempt(transaction: dict[str, Any]) -> tuple[Any, int]:
    """The attempt that it was last part of: its own, or its leader's."""
    if transaction["leader"]:
        return transaction["leader"], transaction["leader_attempt"]
    return transaction["id"], transaction["attempt"]


def _judge_answer(answer: Answer | None, happened: bool, transactions: Rows) -> None:
    """2xx but 202: it happened. 409 and 503: nothing did. 202 and 504: its URL tells. A lost connection: either."""
    if answer is None:
        return
    if answer.status in (200, 201):
        assert happened, f"told that it happened, and it did not: {answer}"
    elif answer.status in (404, 409, 503):
        assert not happened, f"told that nothing happened, and it did: {answer}"
    elif answer.status == 202:
        assert answer.transaction in {str(t["id"]) for t in transactions}, f"accepted and not known: {answer}"
