"""One line a step, with its seconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Steps:
    """Tells a person how far one round is."""

    @contextmanager
    def step(self, what: str) -> Iterator[Callable[[str], None]]:
        """Do a step; the line is printed at its end. Yields what takes words to add to it."""
        said: list[str] = []
        began = time.monotonic()
        try:
            yield said.append
        finally:
            print(f"  {time.monotonic() - began:5.1f} s  {': '.join([what, *said])}", flush=True)
