"""What the command line chose."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Options:
    """`seconds`: how long the clients of one measurement work, about. `clients`: numbers of clients that are tried; the
    best of them is measured. `settle`: seconds of silence before WAL flushes are read; 0 leaves them out."""

    rounds: int = 3
    seconds: float = 20.0
    clients: tuple[int, ...] = (16, 64, 128)
    one_at_a_time: int = 300
    contenders: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    settle: float = 11.0
    orders_of_one: tuple[int, ...] = (1_000, 3_000, 10_000)
    backlog: int = 100_000
    history: int = 1_000_000
    workers: tuple[int, ...] = (1, 2, 4)
    keep: Path | None = None

    @property
    def probe(self) -> float:
        return self.seconds / 5

    @contextmanager
    def folder(self, name: str) -> Iterator[Path]:
        """Where a contender keeps data and logs: for as long as it runs, or where `keep` says."""
        if self.keep:
            self.keep.mkdir(parents=True, exist_ok=True)
            self.keep.chmod(0o755)
            yield Path(tempfile.mkdtemp(prefix=f"{name.replace(' ', '-')}-", dir=self.keep))
        else:
            with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
                yield Path(folder)
