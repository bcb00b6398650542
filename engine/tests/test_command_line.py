"""``python -m atomic_commit -A …`` for a service of anybody's."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType

import pytest

from atomic_commit import Paused
from atomic_commit.cli.main import main
from atomic_commit.declare import TransactionKind
from atomic_commit.testing.line import EagerLine

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(atomic_line: EagerLine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """``command("transactions", …)`` for a service in the module ``market``, whose object is called ``atomic``."""
    wait = TransactionKind(
        "wait", branches=("bank.pay",), begin=lambda session, id, given: given, commit=lambda session, id, values: None
    )
    market = ModuleType("market")
    market.atomic = atomic_line.service("market", kinds=[wait])  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "market", market)

    def run(*words: str, app: str = "market") -> tuple[int, str, str]:
        try:
            code = main(["-A", app, *words])
        except SystemExit as ended:
            code = int(ended.code or 0)
        return code, *capsys.readouterr()

    return run


def test_what_is_undecided_is_listed(command: Command, atomic_line: EagerLine) -> None:
    with atomic_line.losing_messages():
        begun = atomic_line.services["market"].begin("wait", {})
    code, out, _ = command("transactions")
    assert code == 0
    assert "1 undecided, 0 owed, 0 quarantined" in out
    assert str(begun.id) in out
    assert command("release", str(begun.id))[0] == 1


def test_the_database_says_whose_it_is(command: Command, atomic_line: EagerLine) -> None:
    code, out, _ = command("databases")
    assert code == 0
    assert str(atomic_line.installation) in out
    assert command("in-doubt")[1].startswith("0 in doubt in this database")


def test_the_application_is_paused_and_resumed(command: Command, atomic_line: EagerLine) -> None:
    atomic_line.service("bank")
    assert command("pause", "a backup") == (
        0,
        "paused: market, bank accept no transaction\nsettled: nothing is undecided, owed or prepared anywhere\n",
        "",
    )
    with pytest.raises(Paused, match="paused: a backup"):
        atomic_line.services["market"].begin("wait", {})
    assert command("transactions")[1].startswith("PAUSED for 0 s, nothing is accepted: a backup\n")
    assert command("resume") == (0, "resumed: market, bank accept transactions\n", "")
    assert command("transactions")[1].startswith("0 undecided")


def test_a_restore_point_of_one_service(command: Command) -> None:
    code, out, _ = command("restore-point", "a.point")
    assert code == 0
    assert out.startswith("restore point a.point is set everywhere; decisions were held for at most ")


def test_migrating_again_is_no_harm(command: Command) -> None:
    assert command("migrate") == (0, "", "")


@pytest.mark.parametrize(
    ("app", "words"),
    [
        ("nowhere", "there is no module 'nowhere' here"),
        ("market:other", "market has no 'other': name its AtomicCommit object, -A market:NAME"),
        ("json:dumps", "json.dumps is no AtomicCommit but function"),
    ],
)
def test_an_app_that_is_not_there_is_told_in_one_line(command: Command, app: str, words: str) -> None:
    code, _, err = command("transactions", app=app)
    assert code == 2
    assert words in err
