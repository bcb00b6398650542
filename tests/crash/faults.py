"""The random faults of a soak: processes and servers killed and stopped, messages lost, points armed, pairs cut."""

from __future__ import annotations

import random
import shutil
import signal
import threading
import time
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError

from atomic_commit.testing.failpoints import FAILPOINTS
from celery_config.manifest import SERVICES
from embedded.shop import Shop
from local_servers.errors import LocalServersError

from .history import History
from .proxy import Network

_ROLES = ("api", "worker", "outcome-worker")
_PROCESSES = tuple(f"{service}-{role}" for service in SERVICES for role in _ROLES)

#: fault → weight
_MIX = {
    "kill_process": 40,
    "kill_several": 8,
    "freeze_process": 12,
    "arm_point": 24,
    "kill_broker": 4,
    "kill_postgres": 3,
    "stop_postgres_immediately": 3,
    "freeze_postgres": 3,
    "wipe_redis": 3,
    "lose_messages": 6,
    "kill_everything": 2,
}
#: The same, where there is a network that can be broken.
_MIX_OF_NETWORK = {"cut_pair": 10, "black_hole_pair": 10, "delay_pair": 6}
#: Longest break, in seconds.
_LONG = 6.0


def wipe_redis(shop: Shop) -> None:
    """Kill Redis and start it on an empty folder: every message and every result is gone."""
    shop.hold_down("redis", kill=True)
    shutil.rmtree(shop.data_folder("redis"))
    shop.data_folder("redis").mkdir()
    shop.bring_up("redis")


class Faults(threading.Thread):
    """Does something bad every `pause` seconds or so, until `stop` is set; everything runs again afterwards.

    `network`: the proxy between the shop's processes and its servers, if there is one.
    """

    def __init__(
        self,
        shop: Shop,
        broker: str,
        points: Path,
        history: History,
        seed: str,
        pause: float,
        stop: threading.Event,
        network: Network | None = None,
    ) -> None:
        super().__init__(name="faults", daemon=True)
        self._shop, self._broker, self._points, self._history = shop, broker, points, history
        self._dice, self._pause, self._stop_event = random.Random(f"faults {seed}"), pause, stop
        self._network = network
        self._mix = {**_MIX, **(_MIX_OF_NETWORK if network else {})}
        self._killed = 0

    def run(self) -> None:
        while not self._stop_event.wait(self._dice.expovariate(1 / self._pause)):
            fault = self._dice.choices(list(self._mix), list(self._mix.values()))[0]
            began = time.time()
            try:
                what = getattr(self, f"_{fault}")()
            except (LocalServersError, RedisError, OSError) as error:
                what = f"could not be done: {error}"
            self._history.add("fault", began, status=fault, what=what)
        for name in FAILPOINTS:
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

    def _stop_postgres_immediately(self) -> str:
        """As in a power cut, but for what the system has in its buffers."""
        self._shop.signal("postgres", signal.SIGQUIT)
        self._killed += 1
        return "postgres"

    def _freeze_postgres(self) -> str:
        return self._frozen("postgres", self._dice.uniform(0.5, _LONG))

    def _wipe_redis(self) -> str:
        wipe_redis(self._shop)
        self._killed += 1
        return "redis, and its data"

    def _cut_pair(self) -> str:
        return self._break_pair("cut", self._dice.uniform(0.2, _LONG))

    def _black_hole_pair(self) -> str:
        return self._break_pair("black-holed", self._dice.uniform(0.5, _LONG))

    def _delay_pair(self) -> str:
        return self._break_pair("delayed", self._dice.uniform(0.5, _LONG), delay=self._dice.uniform(0.05, 1))

    def _break_pair(self, how: str, seconds: float, delay: float = 0.0) -> str:
        assert self._network is not None
        process, server = self._dice.choice(sorted(pair for pair in self._network.pairs if pair[0] in _PROCESSES))
        with self._network.broken(process, server, how, delay):
            time.sleep(seconds)  # this long it lasts
        return f"{process} - {server} {how} for {seconds:.1f} s"

    def _lose_messages(self) -> str:
        with Redis.from_url(self._shop.result_backend_url, socket_timeout=2) as redis:
            redis.flushall()
        return "FLUSHALL"

    def _freeze_process(self) -> str:
        return self._frozen(self._dice.choice((*_PROCESSES, self._broker)), self._dice.uniform(0.5, _LONG))

    def _frozen(self, name: str, seconds: float) -> str:
        self._shop.signal(name, signal.SIGSTOP)
        time.sleep(seconds)  # this long it lasts
        self._shop.signal(name, signal.SIGCONT)
        return f"{name} for {seconds:.1f} s"

    def _arm_point(self) -> str:
        point = self._dice.choice(FAILPOINTS)
        action = self._dice.choice(("kill", "kill", "kill", "raise", "drop", "stop 4", "delay 4"))
        (self._points / point).write_text(action)
        return f"{action} at {point}"
