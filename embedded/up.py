"""`up`: the shop in the foreground of a terminal, until Ctrl-C."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from typing import TextIO

from celery_config.manifest import SERVICES
from embedded.settings import Ports, state_folder
from embedded.shop import Shop
from local_servers.application import LAUNCHER
from local_servers.errors import Interrupted
from local_servers.foreground import Foreground

WIDTH = max(len(f"{service}-outcome-worker") for service in SERVICES)
COLOURS = (36, 33, 32, 35, 34, 96, 93, 92, 95, 94)


class Screen:
    """Prints lines of several processes, each with its process's name before it, in colour on a terminal."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._colourful = out.isatty() and not os.environ.get("NO_COLOR")
        self._colours: dict[str, int] = {}
        self._lock = threading.Lock()

    def line(self, name: str, text: str) -> None:
        """`users-api  | text`"""
        self.lines(name, [text])

    def lines(self, name: str, texts: Iterable[str]) -> None:
        """Several that belong together. A terminal that has gone is no reason to stop: nothing is raised."""
        with self._lock, contextlib.suppress(OSError):
            for text in texts:
                self._out.write(f"{self._head(name)} {text}".rstrip() + "\n")
            self._out.flush()

    def _head(self, name: str) -> str:
        head = f"{name:<{WIDTH}} |"
        if not self._colourful:
            return head
        colour = self._colours.setdefault(name, COLOURS[len(self._colours) % len(COLOURS)])
        return f"\033[{1 if name == LAUNCHER else colour}m{head}\033[0m"


def up() -> int:
    """Run the shop until a signal asks for its end. Returns the exit code, 0 after a clean stop.

    Raises LocalServersError when it does not come up; then nothing of it is left running.
    """
    began = time.monotonic()
    screen = Screen(sys.stdout)
    ports = Ports.from_environment(os.environ)
    shop = Shop(state_folder(os.environ), ports=ports, log=screen.line)
    with Foreground() as terminal:
        terminal.watch_over(shop)
        try:
            shop.start()
        except Interrupted:
            screen.line(LAUNCHER, "stopped before it was up")
            return 0
        try:
            screen.lines(LAUNCHER, _welcome(shop, time.monotonic() - began))
            terminal.wait()
        finally:
            began = time.monotonic()
            screen.line(LAUNCHER, "stopping: APIs, workers (they finish what they run), then the servers")
            shop.stop()
            screen.line(LAUNCHER, f"stopped in {time.monotonic() - began:.1f} s")
    return 0


def _welcome(shop: Shop, seconds: float) -> Iterator[str]:
    yield f"the shop is up after {seconds:.1f} s"
    yield ""
    for service in SERVICES:
        yield f"  {service:<9} {shop.url(service)}    documentation: {shop.url(service)}/docs"
    yield f"  {'flower':<9} {shop.flower_url}"
    yield ""
    yield f"  logs in {shop.state / 'logs'}; passwords and databases: make status"
    yield "  to stop: Ctrl-C here, or make down from another terminal"
    yield ""
