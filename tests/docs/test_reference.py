"""The reference names what there is: every public name, verb, option and limit."""

from __future__ import annotations

import argparse
import re
from dataclasses import fields

import pytest
from documents import ROOT

import atomic_commit
from atomic_commit import Limits
from atomic_commit.cli import main, verbs

REFERENCE = ROOT / "docs" / "reference"


@pytest.mark.parametrize("name", atomic_commit.__all__)
def test_every_public_name_is_in_the_reference(name: str) -> None:
    assert re.search(rf"^::: atomic_commit\.{name}$", (REFERENCE / "api.md").read_text(), re.MULTILINE)


@pytest.mark.parametrize("limit", fields(Limits), ids=lambda limit: limit.name)
def test_every_limit_is_told_with_its_default(limit) -> None:
    row = f"| `ATOMIC_{limit.name.upper()}` | {limit.default:g} |" if limit.default < 1e5 else ""
    row = row or f"| `ATOMIC_{limit.name.upper()}` | {limit.default:.0f} |"
    assert row in (REFERENCE / "settings.md").read_text()


def test_every_verb_and_option_of_the_command_line_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    page = (REFERENCE / "command-line.md").read_text()
    subparsers = argparse.ArgumentParser().add_subparsers()
    verbs.add_verbs(subparsers)
    options = {option for parser in subparsers.choices.values() for option in parser._option_string_actions}
    with pytest.raises(SystemExit):
        main.main(["--help"])
    told = re.search(r"\{?([a-z-]+(?:,[a-z-]+)+)\}?", capsys.readouterr().out)
    names = {*subparsers.choices, *main._WORKERS, "migrate", *(told[1].split(",") if told else ())}
    assert not [name for name in names if f"`{name}" not in page]
    assert not [option for option in options - {"-h", "--help"} if f"`{option}" not in page]
