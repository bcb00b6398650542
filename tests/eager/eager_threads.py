"""What a test does beside itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from eager_shop import EagerShop

_WAITS_FOR_A_LOCK = "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted)"


class Beside:
    """A function that runs in a thread. ``result`` is what it returns or raises, once it is ``over``."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self._function = function
        self.result: Any = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    @property
    def over(self) -> bool:
        return not self._thread.is_alive()

    def join(self) -> Any:
        """Its result, once it is over."""
        self._thread.join()
        return self.result

    def wait_for_a_lock(self, shop: EagerShop, service: str = "users") -> None:
        """Return when somebody waits for an advisory lock in this service's database."""
        while not shop.query(service, _WAITS_FOR_A_LOCK)[0][0]:
            assert not self.over, self.result
            time.sleep(0.005)

    def _run(self) -> None:
        try:
            self.result = self._function()
        except Exception as error:
            self.result = error
