"""Ours, from the journal on: the requests are accepted beforehand, by the engine's ``begin`` and without HTTP, while
the workers are frozen. What is timed is from the moment at which they thaw to the last decision."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.load import Answer, Done, Load, run
from celery_config.manifest import SERVICES

from .ours import Ours

_SETTLES_WITHIN = 600.0
_DECIDED_SINCE = """
SELECT extract(epoch FROM decided_at)::float8, state FROM transactions WHERE decided_at > to_timestamp(%s)
"""


@dataclass(frozen=True)
class Begins:
    """Accepts removals in this process, as the users API would."""

    #: (name, value) of the variables that this process needs
    environment: tuple[tuple[str, str], ...]

    def open(self) -> Callable[[int], str]:
        os.environ.update({**dict(self.environment), "LOG_LEVEL": "WARNING"})
        from users_service import create_app

        atomic = create_app().extensions["atomic_commit"]

        def begin(user: int) -> str:
            atomic.begin("remove_user", {"user_id": user})
            return "202"

        return begin


class FromJournal(Ours):
    name = "ours from the journal on"
    has_latency = False

    def prepare(self, users: list[int]) -> None:
        """Have the removals accepted while no worker works, and leave the workers frozen."""
        self._signal_workers(signal.SIGSTOP)
        run(Load(Begins(tuple(self.environment("users").items())), users, clients=2, processes=2))

    def remove(self, users: list[int], clients: int, rate: float | None = None) -> Done:
        """The answers are the decisions."""
        return self.drain(len(users))

    def drain(self, count: int, within: float = _SETTLES_WITHIN) -> Done:
        """Thaw the workers and wait until all that was accepted is settled."""
        wall, thawed = time.time(), time.monotonic()
        self._signal_workers(signal.SIGCONT)
        if not self.stock.wait_settled(within):
            raise TimeoutError(f"{self.stock.unsettled()} of {count} are not settled after {within:g} s")
        decided = self.stock.rows("users", _DECIDED_SINCE, wall)
        words = {"committed": "200"}
        answers = [Answer(thawed, thawed + at - wall, words.get(state, state)) for at, state in decided]
        return Done(answers, 0.0)

    def _signal_workers(self, sig: int) -> None:
        for service in SERVICES:
            for role in ("worker", "outcome-worker"):
                self.shop.signal(f"{service}-{role}", sig)
