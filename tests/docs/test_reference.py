"""The reference names what there is: every public name, verb, option and limit."""

from __future__ import annotations

import argparse
import re
from dataclasses import fields

import pytest
from documents import ROOT

import atomic_commit
from atomic_commit import AtomicCommit, Limits
from atomic_commit.cli import main, verbs
from atomic_commit.votes import Ballot, Cause, Vote

REFERENCE = ROOT / "docs" / "reference"


def page(name: str) -> str:
    return (REFERENCE / name).read_text()


@pytest.mark.parametrize("name", atomic_commit.__all__)
def test_every_public_name_is_in_the_reference(name: str) -> None:
    assert re.search(rf"^::: atomic_commit\.{name}$", page("api.md"), re.MULTILINE)


def test_every_method_of_the_engine_is_in_the_reference() -> None:
    told = re.search(
        r"^::: atomic_commit\.AtomicCommit\n    options:\n      members: \[(.*)\]$", page("api.md"), re.MULTILINE
    )
    assert told
    public = {name for name, member in vars(AtomicCommit).items() if not name.startswith("_") and callable_of(member)}
    assert set(told[1].split(", ")) == public


def callable_of(member: object) -> bool:
    return callable(member) or isinstance(member, classmethod)


def test_every_key_and_word_of_a_cause_is_told() -> None:
    keys = Ballot("bank.charge", Vote.NO, "FAILURE").as_cause()
    assert [key for key in (*keys, *Cause) if f"| `{key}` |" not in page("api.md")] == []


@pytest.mark.parametrize("limit", fields(Limits), ids=lambda limit: limit.name)
def test_every_limit_is_told_with_its_default(limit) -> None:
    row = f"| `ATOMIC_{limit.name.upper()}` | {limit.default:g} |" if limit.default < 1e5 else ""
    row = row or f"| `ATOMIC_{limit.name.upper()}` | {limit.default:.0f} |"
    assert row in page("settings.md")


def test_every_verb_and_option_of_the_command_line_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    told_here = page("command-line.md")
    subparsers = argparse.ArgumentParser().add_subparsers()
    verbs.add_verbs(subparsers)
    options = {option for parser in subparsers.choices.values() for option in parser._option_string_actions}
    with pytest.raises(SystemExit):
        main.main(["--help"])
    told = re.search(r"\{?([a-z-]+(?:,[a-z-]+)+)\}?", capsys.readouterr().out)
    names = {*subparsers.choices, *main._WORKERS, "migrate", *(told[1].split(",") if told else ())}
    assert not [name for name in names if f"`{name}" not in told_here]
    assert not [option for option in options - {"-h", "--help"} if f"`{option}" not in told_here]
