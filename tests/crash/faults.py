"""The random faults of a soak: processes killed and stopped, servers killed, messages lost, points armed."""

from __future__ import annotations

import random
import signal
import threading
import time
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError

from atomic_commit.points import POINTS
from embedded.errors import EmbeddedError
from embedded.shop import Shop

from .history import History

_ROLES = ("api", "worker", "outcome-worker")
_PROCESSES = tuple(f"{service}-{role}" for service in ("users", "products", "orders") for role in _ROLES)

#: fault → weight
_MIX = {
    "kill_process": 40,
    "kill_several": 8,
    "freeze_process": 12,
    "arm_point": 24,
    "kill_broker": 4,
    "kill_postgres": 4,
    "lose_messages": 6,
    "kill_everything": 2,
}


class Faults(threading.Thread):
    """Does something bad every `pause` seconds or so, until `stop` is set; everything runs again afterwards."""

    def __init__(
        self, shop: Shop, broker: str, points: Path, history: History, seed: str, pause: float, stop: threading.Event
    ) -> None:
        super().__init__(name="faults", daemon=True)
        self._shop, self._broker, self._points, self._history = shop, broker, points, history
        self._dice, self._pause, self._stop_event = random.Random(f"faults {seed}"), pause, stop
        self._killed = 0

    def run(self) -> None:
        while not self._stop_event.wait(self._dice.expovariate(1 / self._pause)):
            fault = self._dice.choices(list(_MIX), list(_MIX.values()))[0]
            began = time.time()
            try:
                what = getattr(self, f"_{fault}")()
            except (EmbeddedError, RedisError, OSError) as error:
                what = f"could not be done: {error}"
            self._history.add("fault", began, status=fault, what=what)
        for name in POINTS:
            (self._points / name).unlink(missing_ok=True)

    @property
    def kills(self) -> int:
        """Processes killed so far: those that were killed from here, and those that died at an armed point."""
        notes = [note.read_text() for note in (self._points / "fired").glob("*")]
        return self._killed + sum(line.endswith(" kill") for note in notes for line in note.splitlines())

    def _kill(self, name: str) -> None:
        self._shop.kill(name, signal.SIGKILL)
        self._killed += 1

    def _kill_process(self) -> str:
        name = self._dice.choice(_PROCESSES)
        self._kill(name)
        return name

    def _kill_several(self) -> str:
        names = self._dice.sample(_PROCESSES, self._dice.randint(2, 4))
        for name in names:
            self._kill(name)
        return " ".join(names)

    def _kill_everything(self) -> str:
        for name in (*_PROCESSES, self._broker, "postgres"):
            self._kill(name)
        return "everything"

    def _kill_broker(self) -> str:
        self._kill(self._broker)
        return self._broker

    def _kill_postgres(self) -> str:
        self._kill("postgres")
        return "postgres"

    def _lose_messages(self) -> str:
        with Redis.from_url(self._shop.result_backend_url, socket_timeout=2) as redis:
            redis.flushall()
        return "FLUSHALL"

    def _freeze_process(self) -> str:
        name, seconds = self._dice.choice((*_PROCESSES, self._broker)), self._dice.uniform(0.5, 6)
        self._shop.signal(name, signal.SIGSTOP)
        time.sleep(seconds)
        self._shop.signal(name, signal.SIGCONT)
        return f"{name} for {seconds:.1f} s"

    def _arm_point(self) -> str:
        point = self._dice.choice(POINTS)
        action = self._dice.choice(("kill", "kill", "kill", "raise", "drop", "stop 4", "delay 4"))
        (self._points / point).write_text(action)
        return f"{action} at {point}"
