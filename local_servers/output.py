"""What the processes say: kept for who asks, written to a file, passed on."""

from __future__ import annotations

import contextlib
import os
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

Log = Callable[[str, str], None]
"""Takes the name of a process and one line that it said."""

KEPT_LINES = 2000
LARGEST = 32 * 1024 * 1024
"""Bytes of a file; a process has two."""


class Output:
    """The lines of one process, over all its runs.

    The file of the previous start, or of the time before the present one had grown to `largest` bytes, is kept
    beside it as `<name>.previous.log`.
    """

    def __init__(self, name: str, folder: Path, pass_on: Log | None, largest: int = LARGEST) -> None:
        self.name = name
        self.path = folder / f"{name}.log"
        self._previous, self._largest = folder / f"{name}.previous.log", largest
        self._recent: deque[str] = deque(maxlen=KEPT_LINES)
        self._pass_on = pass_on
        self._lock = threading.Lock()
        folder.mkdir(parents=True, exist_ok=True)
        self._file = self._new_file()

    def add(self, line: str) -> None:
        """Take one line.

        It never raises: whoever reads a process's pipe must go on reading, or the process stands still.
        """
        with self._lock, contextlib.suppress(OSError, ValueError):  # disk full; file closed by the stop
            self._recent.append(line)
            if self._file.tell() > self._largest:
                self._file.close()
                self._file = self._new_file()
            self._file.write(line + "\n")
        if self._pass_on:
            with contextlib.suppress(OSError, ValueError):  # a terminal that has gone
                self._pass_on(self.name, line)

    def _new_file(self) -> TextIO:
        with contextlib.suppress(FileNotFoundError):
            os.replace(self.path, self._previous)
        return self.path.open("w", encoding="utf-8", buffering=1)

    def text(self) -> str:
        """The most recent lines, each with its line end."""
        with self._lock:
            return "".join(line + "\n" for line in self._recent)

    def tail(self, lines: int = 20) -> str:
        """The last few lines, for an error message."""
        with self._lock:
            return "\n".join(list(self._recent)[-lines:])

    def close(self) -> None:
        """Close the file; the lines stay readable."""
        with self._lock:
            self._file.close()
