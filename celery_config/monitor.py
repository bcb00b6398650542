"""Flower as this shop runs it: ``python -m celery_config.monitor``, with Flower's own options and variables.

It knows every queue and no task's code. It shows and does not steer: whoever is let in presses nothing that workers
would refuse (``remote_control``), and nothing that starts a task. What it has seen outlasts its restarts.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import pickle
import signal
import sys
from pathlib import Path
from typing import Any

from celery import Celery
from flower.app import Flower
from flower.command import apply_env_options, apply_options, extract_settings, setup_logging, sigterm_handler
from flower.events import Events, EventsState
from flower.inspector import Inspector
from flower.options import default_options
from flower.urls import settings
from tornado.ioloop import IOLoop

from celery_config.celery import celery

log = logging.getLogger("flower.shop")

#: Tasks that are remembered, unless ``FLOWER_MAX_TASKS`` says otherwise: some 20 MB on disk and 200 in memory.
_MAX_TASKS = 20_000
#: Milliseconds between two looks at whether there is anything new to write down.
_SAVE_INTERVAL = 10_000


class KeptEvents(Events):  # type: ignore[misc]  # Flower has no types
    """Flower's events, written into one file that is replaced in one step: a kill leaves the old or the new one.

    (Flower's own are two files or three, and a kill between the replacements of them loses it all.)
    """

    def __init__(self, *given: Any, **named: Any) -> None:
        self._counted = -1
        super().__init__(*given, **named)

    def load_state(self) -> EventsState | None:
        file = Path(self.db)
        try:
            state, counter = pickle.loads(file.read_bytes())  # our own file, from a folder of our own
            state.counter.update(counter)
        except FileNotFoundError:
            return None
        except Exception as error:  # whatever a file that is none of ours makes of pickle
            log.error("the history in %s can't be read, and is renamed to ….unreadable: %s", file, error)
            file.replace(f"{file}.unreadable")
            return None
        return state

    def save_state(self) -> None:
        if self.state.event_count == self._counted:
            return
        file, new = Path(self.db), Path(f"{self.db}.new")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with new.open("wb") as out:
                pickle.dump((self.state, dict(self.state.counter)), out, pickle.HIGHEST_PROTOCOL)
                out.flush()
                os.fsync(out.fileno())
            new.replace(file)
        except OSError as error:
            log.warning("the history can't be written: %s", error)
        else:
            self._counted = self.state.event_count


class PatientInspector(Inspector):  # type: ignore[misc]
    """Flower's inspector, to which a worker that is still starting is no failure."""

    def _inspect(self, method: str, workername: str | None) -> None:
        destination = [workername] if workername else None
        try:
            if not self.capp.control.ping(destination=destination, timeout=self.timeout, limit=1):
                return
        except Exception as error:  # a broker that is away: the transport's own kinds
            log.debug("nobody can be asked: %s", error)
        super()._inspect(method, workername)


def monitor(app: Celery) -> Flower:
    """Flower that looks through `app`, by its options as they are now."""
    options = default_options
    events = KeptEvents(
        app,
        IOLoop.current(),
        db=options.db,
        persistent=options.persistent,
        state_save_interval=options.state_save_interval,
        enable_events=options.enable_events,
        max_workers_in_memory=options.max_workers,
        max_tasks_in_memory=options.max_tasks,
    )
    made = Flower(options, app, events, IOLoop.current(), **settings)
    made.inspector = PatientInspector(made.io_loop, app, options.inspect_timeout / 1000)
    return made


def main() -> None:
    """Read the options, serve until told to stop."""
    default_options.max_tasks, default_options.state_save_interval = _MAX_TASKS, _SAVE_INTERVAL
    apply_env_options()
    apply_options("flower", sys.argv[1:])
    default_options.read_only = True
    extract_settings()
    setup_logging()
    flower = monitor(celery)
    atexit.register(flower.stop)
    signal.signal(signal.SIGTERM, sigterm_handler)
    log.info("Flower listens on port %s", flower.start_http_server())
    with contextlib.suppress(KeyboardInterrupt, SystemExit):
        flower.start()


if __name__ == "__main__":
    main()
