"""Tables of plain text for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime


def as_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The rows under their heads, in columns; control characters, which could play with the terminal, are shown."""
    lines = [[_shown(cell) for cell in line] for line in (heads, *rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def _shown(cell: str) -> str:
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in cell)


def moment(at: datetime | None) -> str | None:
    """A time as programs read it (RFC 3339, UTC)."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z") if at else None


def age(seconds: float) -> str:
    """A time span as people say it, in its two largest units: ``7 s``, ``3 min 12 s``, ``2 d 4 h``."""
    whole = max(0, int(seconds))
    parts = ((whole // 86400, "d"), (whole // 3600 % 24, "h"), (whole // 60 % 60, "min"), (whole % 60, "s"))
    first = next((place for place, (number, _) in enumerate(parts) if number), len(parts) - 1)
    shown = [f"{number} {unit}" for number, unit in parts[first : first + 2] if number]
    return " ".join(shown) or "0 s"
