"""Which process is which. A pid alone proves nothing: it is given away again once its process is gone."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc")


class Stat(NamedTuple):
    """The part of /proc/<pid>/stat that is used here. `started` is in clock ticks since boot."""

    state: str
    parent: int
    group: int
    started: int


def identity(pid: int) -> str | None:
    """A text that only this process has: together with the pid it never fits another one.

    None when there is no such process. A zombie counts as gone: it holds nothing but its number, and where
    nobody reaps orphans it stays for ever.
    """
    if sys.platform != "linux":
        return _identity_from_ps(pid)
    stat = read_stat(pid)
    return None if stat is None or stat.state in "ZX" else f"{_boot()}:{stat.started}"


def read_stat(pid: int) -> Stat | None:
    """Linux only: None when there is no such process."""
    try:
        text = (PROC / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    rest = text[text.rindex(")") + 2 :].split()  # the name before it may hold blanks and brackets
    return Stat(state=rest[0], parent=int(rest[1]), group=int(rest[2]), started=int(rest[19]))


@cache
def _boot() -> str:
    return (PROC / "sys/kernel/random/boot_id").read_text().strip()


def _identity_from_ps(pid: int) -> str | None:
    asked = subprocess.run(["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True)
    state, _, started = asked.stdout.strip().partition(" ")
    return None if asked.returncode or state.startswith("Z") else started.strip()


def all_pids() -> list[int]:
    """Every process that can be seen (Linux; elsewhere none)."""
    return [int(entry) for entry in os.listdir(PROC) if entry.isdecimal()] if PROC.is_dir() else []


def working_in(folder: Path, program: str) -> list[int]:
    """Processes that run `program` with `folder` as their working directory.

    PostgreSQL and Redis change into their data folder, so this finds every process of a server that uses
    ours, whoever started it, and nobody else's. Linux only; elsewhere the list is empty.
    """
    found = []
    for pid in all_pids():
        try:
            here = os.readlink(PROC / str(pid) / "cwd") == str(folder)
            if here and Path(os.readlink(PROC / str(pid) / "exe")).name.split(" ")[0] == program:
                found.append(pid)
        except OSError:  # gone meanwhile, or somebody else's
            continue
    return [pid for pid in found if identity(pid)]


def descendants(pid: int) -> list[int]:
    """Children, their children and so on (Linux; elsewhere none)."""
    children: dict[int, list[int]] = {}
    for other in all_pids():
        stat = read_stat(other)
        if stat:
            children.setdefault(stat.parent, []).append(other)
    found, look = [], [pid]
    while look:
        below = children.get(look.pop(), [])
        found += below
        look += below
    return found
