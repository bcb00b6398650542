"""When an injected fault began and when it was over, seen from outside while the shop is at work."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from embedded.shop import Shop
from local_servers.errors import LocalServersError

from .injections import Injection

_LOOK_EVERY = 0.02


class FaultWatch:
    """``began``: when the point fired (seconds since the epoch), or None. ``ended``: when what it did was over.

    A killed process: when every process of the shop is ready again. A stopped or delayed one: when it goes on. An error
    or a cut connection is over at once.
    """

    def __init__(self, shop: Shop, points: Path, injection: Injection) -> None:
        self._shop, self._injection = shop, injection
        self._note = points / "fired" / injection.point
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="fault-watch", daemon=True)
        self.began: float | None = None
        self.ended: float | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while (said := self._said()) is None:
            if self._over.wait(_LOOK_EVERY) and self._said() is None:
                return
        began, pid = said
        verb, _, seconds = self._injection.action.partition(" ")
        self.ended = self._back(pid) if verb.startswith("kill") else began + float(seconds or 0)
        self.began = began

    def _said(self) -> tuple[float, int] | None:
        """(time, pid) that the point wrote down when it fired."""
        try:
            moment, pid = self._note.read_text().split()[:2]
        except (FileNotFoundError, ValueError):  # not yet, or half written
            return None
        return float(moment), int(pid)

    def _back(self, pid: int) -> float:
        while _lives(pid):
            time.sleep(_LOOK_EVERY)
        for name in self._shop.names:
            try:
                self._shop.wait_ready(name)
            except LocalServersError:  # found by the sweep itself, which waits for all of them before it goes on
                break
        return time.time()


def _lives(pid: int) -> bool:
    """Whether the process runs; one that is dead and not yet waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
