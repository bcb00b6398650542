"""Redis as nobody should run it: ``allkeys-lru`` with little memory, so that it throws away messages and results."""

from __future__ import annotations

import contextlib
import threading

from redis import Redis
from redis.exceptions import RedisError


class Evicting:
    """``with Evicting(url, "6mb") as evicting: …``. A server that was started again is told again. ``keys``: how many
    it threw away."""

    def __init__(self, url: str, size: str) -> None:
        self._url, self._size = url, size
        self._ended_runs, self._of_this_run = 0, 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._insist, daemon=True)

    def __enter__(self) -> Evicting:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    @property
    def keys(self) -> int:
        return self._ended_runs + self._of_this_run

    def _insist(self) -> None:
        with Redis.from_url(self._url, socket_timeout=2, socket_connect_timeout=2) as redis:
            while not self._over.wait(0.2):
                with contextlib.suppress(RedisError, OSError):
                    self._tell(redis)

    def _tell(self, redis: Redis) -> None:
        redis.config_set("maxmemory-policy", "allkeys-lru")
        redis.config_set("maxmemory", self._size)
        now = int(redis.info("stats")["evicted_keys"])
        if now < self._of_this_run:  # counted from 0 since it was started again
            self._ended_runs += self._of_this_run
        self._of_this_run = now
