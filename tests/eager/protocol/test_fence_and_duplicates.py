"""A branch runs once: a prepare that comes after the end meets the fence, a doubled one the branch row."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import sqlalchemy as sa
from eager_shop import EagerShop, message
from eager_steps import coordinator, state_of
from sqlalchemy.exc import OperationalError

from atomic_commit import Conflict, Fenced, TransactionRecord
from atomic_commit.names import Gid
from atomic_commit.wire.hand_over import Answer

# ---- "A prepare arrives after the abort (late or repeated task): the fence"


def test_a_prepare_that_comes_after_the_abort_hits_the_fence(shop: EagerShop, removal: TransactionRecord) -> None:
    shop.abort("users", removal)
    shop.send_outcomes("users", removal.id)
    for gid in shop.gids(removal):
        with pytest.raises(Fenced):
            shop.prepare(gid, message(removal, quantities=[]))
    assert shop.prepared() == []


def test_a_prepare_that_comes_after_the_commit_hits_the_fence_too(shop: EagerShop, removal: TransactionRecord) -> None:
    handed_on = shop.prepare_all(removal)
    coordinator(shop).decide(removal.id, 1, handed_on)
    before = shop.rows()
    with pytest.raises(Fenced):
        shop.prepare(shop.gids(removal)[0], shop.handed_on(removal))
    assert shop.rows() == before


INSERT_ROW = "INSERT INTO branch_rows (transaction_id, attempt, branch, kind) VALUES (:id, :attempt, :branch, :kind)"


def row_of(gid: Gid, kind: str) -> dict[str, Any]:
    return {"id": gid.transaction, "attempt": gid.attempt, "branch": gid.branch, "kind": kind}


def test_a_tombstone_waits_while_the_branch_is_prepared(shop: EagerShop, removal: TransactionRecord) -> None:
    gid = shop.gids(removal)[0]
    shop.prepare(gid, shop.handed_on(removal))
    with shop.engines["orders"].begin() as connection:
        connection.execute(sa.text("SET LOCAL lock_timeout = '100ms'"))
        with pytest.raises(OperationalError, match="lock timeout"):
            connection.execute(sa.text(INSERT_ROW), row_of(gid, "tombstone"))
        connection.rollback()
    assert shop.participant_of(gid).rollback(gid) is Answer.ROLLED_BACK
    rows = shop.query("orders", "SELECT kind FROM branch_rows WHERE transaction_id = :t", t=removal.id)
    assert rows == [("tombstone",)]
    shop.recover()


def test_a_rollback_of_a_branch_that_still_runs_is_asked_again(shop: EagerShop, removal: TransactionRecord) -> None:
    gid = shop.gids(removal)[0]
    participant = shop.participant_of(gid)
    with shop.locked("orders", INSERT_ROW, **row_of(gid, "done")), pytest.raises(Conflict):
        participant.rollback(gid)
    assert participant.rollback(gid) is Answer.ROLLED_BACK
    shop.recover()


def test_a_rollback_repeated_is_a_rollback(shop: EagerShop, removal: TransactionRecord) -> None:
    gid = shop.gids(removal)[0]
    shop.prepare(gid, shop.handed_on(removal))
    assert [shop.participant_of(gid).rollback(gid) for _ in range(3)] == [Answer.ROLLED_BACK] * 3
    shop.recover()


# ---- "The same prepare is delivered twice while the first is undecided"


def test_a_prepare_delivered_twice_hands_on_the_first_result_and_runs_once(
    shop: EagerShop, removal: TransactionRecord, teapot: int
) -> None:
    orders, products = shop.gids(removal)
    first = shop.prepare(orders, shop.handed_on(removal))
    assert shop.prepare(orders, shop.handed_on(removal)) == first
    second = shop.prepare(products, first)
    assert shop.prepare(products, first) == second
    assert len(shop.prepared()) == 2
    coordinator(shop).decide(removal.id, 1, second)
    assert shop.stock_of(teapot) == 10


def test_a_prepare_delivered_twice_whose_first_result_was_lost_votes_no_and_a_new_attempt_commits(
    shop: EagerShop, removal: TransactionRecord, teapot: int
) -> None:
    orders, _ = shop.gids(removal)
    shop.prepare(orders, shop.handed_on(removal))
    shop.celery.AsyncResult(str(orders)).forget()
    with pytest.raises(Conflict, match="result is not known"):
        shop.prepare(orders, shop.handed_on(removal))
    coordinator(shop).decide(removal.id, 1)
    assert state_of(shop, removal) == ("preparing", 2)
    assert shop.prepared() == []
    shop.recover()
    assert state_of(shop, removal) == ("committed", 2)
    assert shop.stock_of(teapot) == 10


def test_a_prepare_delivered_twice_at_the_same_time_runs_once(
    shop: EagerShop, removal: TransactionRecord, order: int
) -> None:
    orders = shop.gids(removal)[0]
    together, ends = threading.Barrier(4), []

    def worker() -> None:
        together.wait()
        try:
            ends.append(shop.prepare(orders, shop.handed_on(removal)))
        except Conflict as conflict:
            ends.append(conflict)

    workers = [threading.Thread(target=worker) for _ in range(4)]
    for thread in workers:
        thread.start()
    for thread in workers:
        thread.join()
    handed_on = [end for end in ends if isinstance(end, dict)]
    assert handed_on, ends
    assert all(end == handed_on[0] for end in handed_on), ends
    assert handed_on[0]["members"][str(removal.id)]["quantities"] == [[1, 4]], ends
    assert shop.prepared() == [str(orders)]
    shop.recover()
    assert shop.status_of_order(order) == "cancelled"
