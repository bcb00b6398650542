"""What a person does to the whole application: pause, resume, restore-point."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from celery.canvas import Signature
from eager_command import Said
from eager_postgres import database_url
from eager_shop import EagerShop

from atomic_commit import Conflict, Lost, TransactionRecord
from atomic_commit.cli import application
from atomic_commit.cli.asking import ask
from atomic_commit.coordinator import hold_decisions, restore_point
from celery_config.manifest import SERVICES
from local_servers.postgres import Postgres
from service_roles import main

Command = Callable[..., Said]


@pytest.fixture
def command(
    shop: EagerShop, migrated: Postgres, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """``command("pause", …)``: as `python -m users_service pause …`, with workers that run each task in a thread."""
    monkeypatch.setenv("DATABASE_URL", database_url(migrated, "users"))
    monkeypatch.setattr(main, "create_celery", lambda *_: shop.celery)
    monkeypatch.setattr(restore_point, "_HOLDS_FOR", 20.0)
    monkeypatch.setattr(hold_decisions, "_BOUNDS", sa.text("SET LOCAL lock_timeout = '20s'"))
    threads: list[threading.Thread] = []
    otherwise = Signature.apply_async

    def send(question: Signature, *given: Any, **named: Any) -> Any:
        if ".application." not in question["task"]:
            return otherwise(question, *given, **named)
        id, task = secrets.token_hex(8), shop.celery.tasks[question["task"]]
        threads.append(threading.Thread(target=lambda: task.apply(kwargs=question.kwargs, task_id=id)))
        threads[-1].start()
        return shop.celery.AsyncResult(id)

    def run(*words: str) -> Said:
        capsys.readouterr()
        with monkeypatch.context() as patch:
            patch.setattr(Signature, "apply_async", send)
            try:
                code = main.main("users_service", words)
            except SystemExit as ended:  # argparse
                code = int(ended.code or 0)
        for thread in threads:
            thread.join()
        out, err = capsys.readouterr()
        return Said(code, out, err)

    return run


@pytest.fixture
def away(shop: EagerShop, monkeypatch: pytest.MonkeyPatch) -> str:
    """A service that can't do what it is asked: its database does not answer."""

    def raises(*_: Any) -> Any:
        raise Lost("the server closed the connection unexpectedly")

    atomic = shop.atomic("orders")
    monkeypatch.setattr(atomic.identity, "database", raises)
    return "orders: the server closed the connection unexpectedly\n"


def paused(shop: EagerShop) -> dict[str, str | None]:
    """Service → why, of each that is paused."""
    rows = {
        service: shop.query(service, "SELECT paused_at IS NOT NULL, paused_because FROM database_identity")[0]
        for service in SERVICES
    }
    return {service: because for service, (is_paused, because) in rows.items() if is_paused}


# ---- pause and resume


def test_every_service_is_paused_and_resumed(shop: EagerShop, command: Command, user: int) -> None:
    assert command("pause", "a backup") == Said(
        0,
        "paused: users, products, orders accept no transaction\n"
        "settled: nothing is undecided, owed or prepared anywhere\n",
        "",
    )
    assert paused(shop) == dict.fromkeys(SERVICES, "a backup")
    shop.remove_user(user).problem(503, "paused")
    assert command("resume") == Said(0, "resumed: users, products, orders accept transactions\n", "")
    assert not paused(shop)
    shop.remove_user(user).expect(200)


def test_who_looks_at_the_transactions_of_a_paused_service_sees_it(shop: EagerShop, command: Command) -> None:
    command("pause", "--wait", "0")
    assert command("transactions").lines[0].startswith("PAUSED for 0 s, nothing is accepted")
    command("pause", "a backup", "--wait", "0")
    shop.query("users", "UPDATE database_identity SET paused_at = now() - interval '3 minutes 12 seconds'")
    first, second = command("transactions").lines
    assert first.startswith("PAUSED for 3 min 1")
    assert first.endswith(", nothing is accepted: a backup")
    assert second == "0 undecided, 0 owed, 0 quarantined"


@pytest.mark.leaves("prepared", "undecided")
def test_pause_waits_until_everything_is_settled_and_says_what_is_not(
    shop: EagerShop, command: Command, removal: TransactionRecord, order: int, teapot: int
) -> None:
    shop.prepare_all(removal)
    said = command("pause", "--wait", "0.1")
    assert (said.code, said.out) == (4, "paused: users, products, orders accept no transaction\n")
    assert said.err == (
        "NOT settled after 0.1 s; the application stays paused:\n"
        "users: 1 undecided\nproducts: 1 prepared\norders: 1 prepared\n"
    )
    assert paused(shop).keys() == set(SERVICES)


def test_pause_waits_for_what_settles_meanwhile(
    shop: EagerShop, command: Command, removal: TransactionRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    def settle_after(celery: Any, installation: Any, verb: str, *given: Any, **named: Any) -> Any:
        replies = ask(celery, installation, verb, *given, **named)
        if verb == "application.standing":
            shop.recover()
        return replies

    monkeypatch.setattr(application, "ask", settle_after)
    said = command("pause", "--wait", "60")
    assert (said.code, said.err) == (0, "")
    assert said.lines[-1] == "settled: nothing is undecided, owed or prepared anywhere"
    assert shop.transaction("users", removal.id)["state"] == "committed"


@pytest.mark.leaves("undecided")
def test_pause_does_not_wait_where_it_is_told_not_to(
    shop: EagerShop, command: Command, removal: TransactionRecord
) -> None:
    assert command("pause", "--wait", "0") == Said(0, "paused: users, products, orders accept no transaction\n", "")


def test_a_service_that_can_not_be_paused_is_named_with_the_state_of_the_others(
    shop: EagerShop, command: Command, away: str
) -> None:
    assert command("pause", "a backup") == Said(
        3,
        "paused: users, products; orders may accept transactions still\n"
        "ask again once it can answer, or resume: nothing is undone by itself\n",
        away,
    )
    assert paused(shop) == dict.fromkeys(("users", "products"), "a backup")
    assert command("resume") == Said(3, "resumed: users, products; orders may be paused still\n", away)
    assert not paused(shop)


def test_a_service_of_which_it_is_not_known_yet_that_it_accepts_nothing_is_not_paused(
    shop: EagerShop, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def not_yet(because: str | None) -> None:
        raise Conflict("paused, but who began before may still be accepted: ask again")

    monkeypatch.setattr(shop.atomic("users").pausing, "set", not_yet)
    said = command("pause")
    assert said.code == 3
    assert said.err == "users: paused, but who began before may still be accepted: ask again\n"


# ---- restore point


def test_a_restore_point_is_set_everywhere_and_it_is_told_how_long_decisions_were_held(
    shop: EagerShop, command: Command
) -> None:
    said = command("restore-point", "before-upgrade.1_A")
    first, heads, *rows = said.lines
    assert (said.code, said.err) == (0, "")
    assert first.startswith("restore point before-upgrade.1_A is set everywhere; decisions were held for at most ")
    assert heads.split() == ["SERVICE", "HELD", "AT"]
    held = {row.split()[0]: int(row.split()[1]) for row in rows}
    assert held.keys() == set(SERVICES)
    assert first.endswith(f" {max(held.values())} ms")


def test_where_one_service_can_not_nothing_is_set(shop: EagerShop, command: Command, away: str) -> None:
    said = command("restore-point", "a.point")
    assert (said.code, said.out) == (3, "nothing was set anywhere, and decisions go on\n")
    assert away in said.err
    assert "users: let go, because " in said.err


def test_a_point_that_may_be_set_somewhere_and_is_none_needs_another_name(
    shop: EagerShop, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def not_confirmed(engine: sa.Engine) -> None:
        if engine.url.database == "orders":
            raise Lost("not known whether it stays")

    monkeypatch.setattr(restore_point, "flush", not_confirmed)
    assert command("restore-point", "a.point") == Said(
        5,
        "a.point is NO restore point, and some servers may have it in their logs: try again with another NAME\n",
        "orders: not known whether it stays\n",
    )


def test_where_it_can_not_be_told_whether_anything_was_set_it_may_be(
    shop: EagerShop, command: Command, away: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: Any) -> bool:
        raise OSError("no result backend here")

    monkeypatch.setattr(application, "may_be_set", gone)
    said = command("restore-point", "a.point")
    assert said.code == 5
    assert "what the services said to each other can't be read: OSError: no result backend here" in said.err


@pytest.mark.parametrize(
    "words",
    [
        ["restore-point"],
        ["restore-point", ""],
        ["restore-point", "x" * 64],
        ["restore-point", "two words"],
        ["restore-point", "o'clock"],
        ["restore-point", "zwölf"],
        ["restore-point", "line\n"],
        ["pause", ""],
        ["pause", "x" * 201],
        ["pause", "two\nlines"],
        ["pause", "--wait", "soon"],
        ["pause", "--wait", "-1"],
        ["pause", "--wait", "nan"],
        ["resume", "users"],
    ],
)
def test_words_that_are_not_understood_do_nothing(shop: EagerShop, command: Command, words: list[str]) -> None:
    said = command(*words)
    assert (said.code, said.out) == (2, "")
    assert "usage: python -m users_service" in said.err
    assert not paused(shop)
