"""Every relative link in the documents leads to a file that is there, and to a heading of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from documents import ROOT

DOCUMENTS = sorted(
    [
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "engine/README.md", "deploy/kubernetes/README.md")),
        *(ROOT / "docs").rglob("*.md"),
    ]
)

_FENCED = re.compile(r"^ *(```+).*?^ *\1 *$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} +(.+?) *$", re.MULTILINE)
_ABSOLUTE = re.compile(r"[a-z][a-z0-9+.-]*:")


def links_of(document: Path) -> Iterator[str]:
    prose = _FENCED.sub("", document.read_text())
    return (link for link in _LINK.findall(prose) if not _ABSOLUTE.match(link))


@cache
def headings_of(document: Path) -> frozenset[str]:
    """The anchors that GitHub gives to the document's headings."""
    return frozenset(anchor(heading) for heading in _HEADING.findall(_FENCED.sub("", document.read_text())))


def anchor(heading: str) -> str:
    words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
    return re.sub(r"[^\w\- ]", "", words).replace(" ", "-")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: str(document.relative_to(ROOT)))
def test_every_link_leads_somewhere(document: Path) -> None:
    broken = []
    for link in links_of(document):
        path, _, fragment = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        if not target.exists():
            broken.append(f"{link}: there is no {target}")
        elif fragment and fragment not in headings_of(target):
            broken.append(f"{link}: no such heading")
    assert not broken, "\n".join(broken)


def test_every_page_is_in_the_sites_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text().partition("\nnav:")[2]
    pages = {str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")}
    assert pages == set(re.findall(r"\S+\.md", navigation))
