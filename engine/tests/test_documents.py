"""Who has only this distribution can follow what it says: no link leads out of it, and its help tells no secret."""

from __future__ import annotations

import pydoc
import re
from pathlib import Path

import pytest

import atomic_commit

DISTRIBUTION = Path(__file__).parents[1]
DOCUMENTS = ("README.md", "CHANGELOG.md")

_FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)|^ *\[[^\]]+\]: *(\S+)|(?:src|href)=\"([^\"]+)\"", re.MULTILINE)


def links_of(text: str) -> list[str]:
    return ["".join(found) for found in _LINK.findall(_FENCED.sub("", text))]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_link_leads_somewhere_wherever_the_document_is_read(document: str) -> None:
    """The index of packages shows the README alone: it has no file beside it."""
    links = links_of((DISTRIBUTION / document).read_text())
    assert not [link for link in links if not link.startswith(("https://", "#"))]


def test_a_link_is_seen() -> None:
    text = '[a](../docs/a.md) ![b](b.svg)\n[c]: c.md\n<img src="d.svg">\n```\n[e](e.md)\n```\n'
    assert sorted(links_of(text)) == ["../docs/a.md", "b.svg", "c.md", "d.svg"]


def test_every_file_that_the_readme_names_is_shipped() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)`", (DISTRIBUTION / "README.md").read_text())
    assert named
    assert all((DISTRIBUTION / name).is_file() for name in named)


def test_help_shows_no_variable_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://bank:sesame@127.0.0.1/bank")
    assert "sesame" not in pydoc.render_doc(atomic_commit)
