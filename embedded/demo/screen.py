"""Where the demo writes: tables and lines on a terminal, the same without colours elsewhere."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from rich.console import Console, RenderableType
from rich.text import Text

WIDTH = 100


class Screen:
    """Standard output. `plain_progress`: progress as plain lines, because other lines come in between."""

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
        self._console.rule(Text(title, style="bold"), align="left")
        self._console.print(words)
        self._console.print()

    def say(self, words: str, style: str = "") -> None:
        self._console.print(words, style=style, soft_wrap=False)

    def show(self, what: RenderableType) -> None:
        """A table or the like, and an empty line."""
        with self._console.capture() as drawn:
            self._console.print(what)
        self._write("\n".join(line.rstrip() for line in drawn.get().splitlines()) + "\n\n")

    def quote(self, lines: Iterable[str]) -> None:
        """What others said, line by line and unbroken."""
        self._write("".join(f"  {line}\n" for line in lines))

    def _write(self, text: str) -> None:
        """As it is."""
        self._console.file.write(text)
        self._console.file.flush()

    @contextmanager
    def working(self, words: str) -> Iterator[None]:
        """Say what takes a moment, while it does."""
        if self._spins:
            with self._console.status(Text(f"{words} …"), refresh_per_second=8):
                yield
        else:
            self._console.print(f"… {words}")
            yield
