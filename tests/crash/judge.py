"""What must be true after every injection, whatever it was. Reads rows and answers only."""

from __future__ import annotations

from typing import Any

from tests.broker.http_calls import Answer

from .scenarios import Scene

_OURS = "SELECT * FROM transactions WHERE created_at >= %s ORDER BY created_at"
_DONE = "SELECT branch, attempt, kind FROM branch_rows WHERE transaction_id = %s"


def judge(scene: Scene, answer: Answer | None, since: Any) -> None:
    """Raise AssertionError unless the shop is whole and the client was told the truth. Call it when all is quiet."""
    happened = scene.happened()
    transactions = _transactions(scene, since)
    committed = [t for t in transactions if t["state"] == "committed"]
    assert all(t["state"] != "preparing" and t["settled_at"] for t in transactions), f"not settled: {transactions}"
    assert not [t for t in transactions if t["quarantined_at"]], f"quarantined: {transactions}"
    assert len(committed) == int(happened), f"rows say happened={happened}, journals say {committed}"
    for transaction in transactions:
        _judge_branch_rows(scene, transaction)
    if scene.injection.ending == "refusal":
        assert not happened, "what products refuses has happened"
    _judge_answer(answer, happened, transactions)


def _transactions(scene: Scene, since: Any) -> list[dict[str, Any]]:
    service = "users" if scene.injection.kind == "remove_user" else "orders"
    return scene.keeper.databases.rows(service, _OURS, since)


def _judge_branch_rows(scene: Scene, transaction: dict[str, Any]) -> None:
    """Every branch of a committed transaction was applied once, in its last attempt; of an aborted one never."""
    service = "users" if scene.injection.kind == "remove_user" else "orders"
    told = scene.keeper.databases.rows(
        service, "SELECT name, attempt FROM transaction_branches WHERE transaction_id = %s", transaction["id"]
    )
    found = [
        row
        for database in ("users", "products", "orders")
        for row in scene.keeper.databases.rows(database, _DONE, transaction["id"])
    ]
    done = {(row["branch"], row["attempt"]) for row in found if row["kind"] == "done"}
    fenced = {(row["branch"], row["attempt"]) for row in found if row["kind"] == "tombstone"}
    every = {(row["name"], row["attempt"]) for row in told}
    last = {(name, attempt) for name, attempt in every if attempt == transaction["attempt"]}
    wanted = last if transaction["state"] == "committed" else set()
    assert done == wanted, f"{transaction['state']}: branches done {done}, wanted {wanted}"
    assert fenced == every - wanted, f"{transaction['state']}: branches fenced {fenced}, wanted {every - wanted}"


def _judge_answer(answer: Answer | None, happened: bool, transactions: list[dict[str, Any]]) -> None:
    """2xx but 202: it happened. 409 and 503: nothing did. 202 and 504: its URL tells. A lost connection: either."""
    if answer is None:
        return
    if answer.status in (200, 201):
        assert happened, f"told that it happened, and it did not: {answer}"
    elif answer.status in (404, 409, 503):
        assert not happened, f"told that nothing happened, and it did: {answer}"
    elif answer.status == 202:
        assert answer.transaction in {str(t["id"]) for t in transactions}, f"accepted and not known: {answer}"
