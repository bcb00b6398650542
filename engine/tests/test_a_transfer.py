"""A transaction between two services of nobody's, in the words that the package offers for tests."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from atomic_commit import Branches, Refused, State, TransactionKind
from atomic_commit.testing.failpoints import FAILPOINTS
from atomic_commit.testing.line import EagerLine
from atomic_commit.testing.plugin import Failpoints

ACCOUNTS = """
CREATE TABLE accounts (name text PRIMARY KEY, balance integer NOT NULL CHECK (balance >= 0));
INSERT INTO accounts VALUES ('ada', 100)
"""
bank = Branches("bank")


@bank.branch
def pay(session: Session, account: str, amount: int) -> None:
    paid = session.execute(
        text("UPDATE accounts SET balance = balance - :amount WHERE name = :account AND balance >= :amount"),
        {"account": account, "amount": amount},
    )
    if not paid.rowcount:  # type: ignore[attr-defined]
        raise Refused("short", f"{account} has not got {amount}.")


def sell(session: Session, transaction: uuid.UUID, values: dict[str, Any]) -> None:
    session.execute(text("INSERT INTO sales VALUES (:item)"), {"item": values["item"]})


sale = TransactionKind("sale", branches=("bank.pay",), begin=lambda session, transaction, given: given, commit=sell)


@pytest.fixture
def line(atomic_line: EagerLine) -> EagerLine:
    atomic_line.service("bank", branches=bank, tables=ACCOUNTS)
    atomic_line.service("market", kinds=[sale], tables="CREATE TABLE sales (item text)")
    return atomic_line


def balance(line: EagerLine) -> int:
    [(found,)] = line.query("bank", "SELECT balance FROM accounts")
    return int(found)


def sold(line: EagerLine) -> list[str]:
    return [item for (item,) in line.query("market", "SELECT item FROM sales")]


def test_both_services_change(line: EagerLine) -> None:
    done = line.run("market", "sale", account="ada", amount=30, item="teapot")
    assert done.state is State.COMMITTED
    assert (balance(line), sold(line), line.prepared()) == (70, ["teapot"], [])


def test_neither_service_changes_where_one_refuses(line: EagerLine) -> None:
    done = line.run("market", "sale", account="ada", amount=300, item="teapot")
    assert done.state is State.ABORTED
    assert done.cause["reason"] == "short"
    assert (balance(line), sold(line), line.prepared()) == (100, [], [])


def test_what_is_lost_on_the_way_is_finished_by_recovery(line: EagerLine) -> None:
    with line.losing_messages():
        begun = line.services["market"].begin("sale", {"account": "ada", "amount": 30, "item": "teapot"})
    assert (begun.state, balance(line)) == (State.PREPARING, 100)
    line.settle()
    assert (balance(line), sold(line)) == (70, ["teapot"])


#: Where a process of this line, which has no workers, can die: as long as there is something to recover from.
_IN_A_PROCESS = [
    point
    for point in FAILPOINTS
    if point.partition(".")[0] in ("begin", "publish", "prepare", "decide", "acknowledge", "commit")
    and point not in ("prepare.next_link_published", "prepare.result_stored")
]


@pytest.mark.parametrize("point", _IN_A_PROCESS)
def test_a_process_that_dies_anywhere_leaves_all_or_nothing(line: EagerLine, point: str) -> None:
    with line.killed_at(point):
        line.run("market", "sale", account="ada", amount=30, item="teapot")
    line.settle()
    both = (70, ["teapot"]), (100, [])
    assert (balance(line), sold(line)) in both
    assert line.prepared() == []
    if not point.startswith("begin.before"):
        assert balance(line) == 70, "it was accepted, and nobody refused"


def test_a_point_that_is_not_reached_is_told(line: EagerLine) -> None:
    with (
        pytest.raises(AssertionError, match=r"rollback.before_tombstone was not reached"),
        line.killed_at("rollback.before_tombstone"),
    ):
        line.run("market", "sale", account="ada", amount=30, item="teapot")


def test_failpoints_of_processes_are_files_of_one_folder(atomic_failpoints: Failpoints) -> None:
    atomic_failpoints.arm("prepare.after_prepare", "delay 1")
    armed = [file.name for file in atomic_failpoints.folder.iterdir()]
    assert armed == ["prepare.after_prepare"]
    assert atomic_failpoints.variables == {"ATOMIC_FAILPOINTS": str(atomic_failpoints.folder)}
    assert not atomic_failpoints.fired("prepare.after_prepare")
    with pytest.raises(ValueError, match="is not a failpoint"):
        atomic_failpoints.arm("prepare.after_lunch")
