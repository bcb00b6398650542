"""What a document tells its reader to save and to type, read from its fenced blocks.

A block ``python title="bank.py"`` is a file. In a block ``console`` a line after ``$ `` is typed, and the lines after
it are what is shown. What stands in other blocks is the reader's own affair: to install, to start servers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]

_BLOCK = re.compile(r"^```(?P<info>[^\n`]*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
_TITLE = re.compile(r'title="([^"]+)"')


@dataclass(frozen=True)
class Typed:
    """One command and what it is said to show."""

    command: str
    shown: str


def files_of(document: Path) -> dict[str, str]:
    """Name → text of each file that the document has the reader save."""
    return {title[1]: body for info, body in _blocks(document) if (title := _TITLE.search(info))}


def commands_of(document: Path) -> list[Typed]:
    """All commands of the document, in their order."""
    return [typed for info, body in _blocks(document) if info == "console" for typed in _typed(body)]


def _blocks(document: Path) -> list[tuple[str, str]]:
    return [(found["info"].strip(), found["body"]) for found in _BLOCK.finditer(document.read_text())]


def _typed(body: str) -> list[Typed]:
    assert body.startswith("$ "), f"a console block begins with what is typed, not with {body.splitlines()[0]!r}"
    parts = re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]
    return [Typed(command, shown) for command, _, shown in (part.partition("\n") for part in parts)]
