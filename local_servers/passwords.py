"""Random passwords, made once and kept in the state folder for its owner alone."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path


def read_or_make(file: Path, names: tuple[str, ...]) -> dict[str, str]:
    """Name → password, from `file` (JSON, mode 0600); those that are missing there are made and added.

    They hold only characters that stand in a URL as they are.
    """
    known: dict[str, str] = json.loads(file.read_text()) if file.exists() else {}
    missing = [name for name in names if name not in known]
    if missing:
        known |= {name: secrets.token_urlsafe(18) for name in missing}
        write_private(file, json.dumps(known, indent=1))
    return known


def write_private(file: Path, text: str) -> None:
    """Replace `file` in one step; nobody else may read it, not for a moment."""
    part = file.with_name(f"{file.name}.part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        out.write(text)
    part.replace(file)
