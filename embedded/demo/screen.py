"""Where the demo writes: tables and lines on a terminal, the same without colours elsewhere."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, RenderableType
from rich.text import Text

WIDTH = 100


class Screen:
    """Standard output. `quiet_progress`: progress as plain lines, because other lines come in between."""

    def __init__(self, *, plain_progress: bool) -> None:
        terminal = sys.stdout.isatty()
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="replace")  # a terminal without these characters is no reason to stop
        self._console = Console(
            force_terminal=terminal,
            width=None if terminal else WIDTH,
            no_color=bool(os.environ.get("NO_COLOR")) or None,
            highlight=False,
            markup=False,
            emoji=False,
        )
        self._spins = terminal and not plain_progress

    def chapter(self, title: str, words: str) -> None:
        """A heading and what is about to be seen."""
        self._console.print()
        self._console.rule(Text(title, style="bold"), align="left")
        self._console.print(words)
        self._console.print()

    def say(self, words: str, style: str = "") -> None:
        self._console.print(words, style=style, soft_wrap=False)

    def show(self, what: RenderableType) -> None:
        self._console.print(what)

    @contextmanager
    def working(self, words: str) -> Iterator[None]:
        """Say what takes a moment, while it does."""
        if self._spins:
            with self._console.status(Text(f"{words} …"), refresh_per_second=8):
                yield
        else:
            self._console.print(f"… {words}")
            yield
