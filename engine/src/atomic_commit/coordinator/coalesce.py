"""One thread does what many want done at the same moment.

For something that is the same whoever does it, and has to be done once after the last of them asked for it: as one
flush of a log serves everybody who wrote before it began.
"""

from __future__ import annotations

import threading
from collections.abc import Callable


class Coalescer:
    """Lets one thread at a time do it, and spares those for whom it has been done since they asked."""

    def __init__(self, longest: float) -> None:
        """`longest`: seconds that anybody waits for the one who is at it."""
        self._longest = longest
        self._turn = threading.Lock()
        self._begun = 0

    def do(self, action: Callable[[], object]) -> None:
        """Return when `action` has been begun and ended by some thread after this call, or when that takes too long."""
        begun = self._begun  # whoever is at it now may have begun too early for us
        if not self._turn.acquire(timeout=self._longest):
            return
        try:
            if self._begun == begun:
                self._begun += 1
                action()
        finally:
            self._turn.release()
