"""What a database of anybody's services has forgotten: named by ``verify``, run again by ``redo``."""

from __future__ import annotations

import json
import sys
import uuid
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from celery import Celery
from sqlalchemy import text
from sqlalchemy.orm import Session

from atomic_commit import AtomicCommit, Branches, Installation, TransactionKind, create_engine
from atomic_commit.cli.main import main
from atomic_commit.testing.line import EagerLine
from atomic_commit.verify import verification

Command = Callable[..., tuple[int, str, str]]

bank = Branches("bank")


@bank.branch
def pay(session: Session, account: str, amount: int) -> None:
    """Not declared as safe to redo: whoever is paid late may have been paid otherwise."""
    session.execute(text("UPDATE accounts SET balance = balance - :amount"), {"amount": amount})


@bank.branch(safe_to_redo=True)
def note(session: Session, account: str) -> None:
    session.execute(text("INSERT INTO notes VALUES (:account) ON CONFLICT DO NOTHING"), {"account": account})


def sell(session: Session, transaction: uuid.UUID, values: dict[str, Any]) -> None:
    session.execute(text("INSERT INTO sales VALUES (:item)"), {"item": values["item"]})


def kind(name: str, branch: str) -> TransactionKind:
    return TransactionKind(name, branches=(branch,), begin=lambda session, id, given: given, commit=sell)


@pytest.fixture
def line(atomic_line: EagerLine, monkeypatch: pytest.MonkeyPatch) -> EagerLine:
    monkeypatch.setattr(verification, "YOUNG", 0.0)
    accounts = "CREATE TABLE accounts (balance integer); INSERT INTO accounts VALUES (100)"
    atomic_line.service("bank", branches=bank, tables=f"{accounts}; CREATE TABLE notes (account text PRIMARY KEY)")
    kinds = [kind("sale", "bank.pay"), kind("mention", "bank.note")]
    atomic_line.service("market", kinds=kinds, tables="CREATE TABLE sales (item text)")
    return atomic_line


@pytest.fixture
def command(line: EagerLine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """``command("market", "verify", …)``: as `python -m atomic_commit -A market verify …`."""

    def run(service: str, *words: str) -> tuple[int, str, str]:
        module = ModuleType(service)
        module.atomic = line.services[service]  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, service, module)
        capsys.readouterr()
        return main(["-A", service, *words]), *capsys.readouterr()

    return run


def test_a_branch_that_is_forgotten_is_named_and_run_again(line: EagerLine, command: Command) -> None:
    done = line.run("market", "mention", account="ada", item="teapot")
    assert command("market", "verify")[0] == 0
    line.query("bank", "TRUNCATE branch_rows, notes")
    code, out, _ = command("market", "verify", "--json")
    assert code == 3
    [loss] = json.loads(out)["losses"]
    assert (loss["transaction"], loss["branch"], loss["lost"]) == (str(done.id), "bank.note", "branch")
    assert loss["values"] == {str(done.id): {"account": "ada", "item": "teapot"}}
    assert command("market", "redo", str(done.id))[0] == 0
    assert line.query("bank", "SELECT * FROM notes") == [("ada",)]
    assert command("market", "verify")[0] == 0


def test_a_branch_that_is_plainly_declared_waits_for_a_persons_yes(line: EagerLine, command: Command) -> None:
    done = line.run("market", "sale", account="ada", amount=30, item="teapot")
    line.query("bank", "TRUNCATE branch_rows")
    line.query("bank", "UPDATE accounts SET balance = 100")
    code, out, err = command("market", "redo", str(done.id))
    assert code == 2
    assert out.startswith("bank.pay is not declared as safe to redo. It would run at bank, for")
    assert '"amount": 30' in out
    assert "--yes" in err
    assert line.query("bank", "SELECT balance FROM accounts") == [(100,)]
    assert command("market", "redo", str(done.id), "--yes")[0] == 0
    assert line.query("bank", "SELECT balance FROM accounts") == [(70,)]
    assert command("market", "redo", str(done.id), "--yes")[0] == 2
    assert line.query("bank", "SELECT balance FROM accounts") == [(70,)]


def test_a_transaction_that_is_forgotten_is_named_where_it_was_done(line: EagerLine, command: Command) -> None:
    done = line.run("market", "sale", account="ada", amount=30, item="teapot")
    line.query("market", "TRUNCATE transactions, transaction_branches, sales")
    assert command("market", "verify")[0] == 0
    code, out, _ = command("bank", "verify", "--json")
    assert code == 3
    [loss] = json.loads(out)["losses"]
    assert (loss["lost"], loss["service"], loss["kind"]) == ("transaction", "market", "market.sale")
    assert loss["values"] == {str(done.id): {"account": "ada", "amount": 30}}
    assert command("bank", "redo", str(done.id), "--close", "paid back")[0] == 0
    assert command("bank", "verify")[0] == 0


def test_a_service_that_can_not_be_asked_is_told(line: EagerLine, command: Command, monkeypatch: Any) -> None:
    line.run("market", "sale", account="ada", amount=30, item="teapot")
    monkeypatch.setattr("atomic_commit.verify.peers.WITHIN", 0.05)
    with line.losing_messages():
        code, out, _ = command("market", "verify")
    assert code == 4
    assert "bank: did not answer within 0.05 s" in out.splitlines()


@pytest.mark.parametrize("verb", ["redo", "have_done", "commit", "decide"])
def test_a_branch_may_not_have_a_name_of_the_protocols(verb: str, atomic_postgres_url: str) -> None:
    def declared(session: Session) -> None: ...

    declared.__name__ = verb
    branches = Branches("bank")
    branches.branch(declared)
    celery = Celery("bank", set_as_current=False)
    celery.conf.update(task_always_eager=True)
    with pytest.raises(ValueError, match=f"bank.{verb} is the protocol's own"):
        AtomicCommit(
            service="bank",
            installation=Installation("line", "names"),
            engine=create_engine(atomic_postgres_url),
            celery=celery,
            branches=branches,
        )
