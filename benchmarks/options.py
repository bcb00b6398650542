"""What the command line chose."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Options:
    #: how often everything is measured
    rounds: int = 3
    #: how long the clients of one measurement work, about
    seconds: float = 20.0
    #: numbers of clients that are tried; the best of them is measured
    clients: tuple[int, ...] = (16, 64, 128)
    #: removals on an idle system
    one_at_a_time: int = 300
    #: names of those that are measured; empty: all
    contenders: tuple[str, ...] = ()
    #: variables of the contenders' processes
    environment: dict[str, str] = field(default_factory=dict)
    #: seconds of silence before WAL flushes are read; 0 leaves them out
    settle: float = 11.0
    #: numbers of orders that the large user has
    orders_of_one: tuple[int, ...] = (1_000, 3_000, 10_000)
    #: accepted requests in the backlog
    backlog: int = 100_000
    #: settled transactions of the long history
    history: int = 1_000_000
    #: numbers of workers that each role of a service has
    workers: tuple[int, ...] = (1, 2, 4)
    #: the folder in which contenders' data and logs are left; None: nothing is left
    keep: Path | None = None

    @property
    def probe(self) -> float:
        """Seconds of a measurement that only looks for the best number of clients, about."""
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
