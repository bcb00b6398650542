"""What the clients of a soak asked and were answered: one JSON line an operation, in the order in which they ended."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any


class History:
    """The file of one soak, written by many clients at once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = open(path, "w")  # noqa: SIM115  (closed by close)
        self._lock = threading.Lock()
        self.counts: Counter[str] = Counter()

    def add(self, operation: str, began: float, **members: Any) -> None:
        """Write down one operation or fault; times are seconds since the epoch."""
        line = json.dumps({"operation": operation, "began": began, "ended": time.time(), **members})
        with self._lock:
            self._file.write(line + "\n")
            self.counts[f"{operation} {members.get('status', '')}".strip()] += 1

    def entries(self) -> list[dict[str, Any]]:
        """All that is written down so far."""
        with self._lock:
            self._file.flush()
            return read(self.path)

    def close(self) -> None:
        with self._lock:
            self._file.close()


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]
