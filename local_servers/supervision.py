"""A program and the promise that it runs: started again when it dies, unless held down."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from local_servers.errors import Interrupted, LocalServersError, StartFailed
from local_servers.output import Output
from local_servers.processes import Run
from local_servers.settings import Say

FIRST_DELAY, LONGEST_DELAY = 0.1, 5.0
"""Seconds before a dead process is started again: the first time, and at most when it keeps on dying."""
HEALTHY_AFTER = 3.0
"""A run that lasted so many seconds was no failed start: the next delay is the first one again."""
LOOK_EVERY = 0.03
BROKERS_STOP, DATABASES_STOP = 1_000, 1_001
"""The last phases of a stop: what works has ended by then."""


@dataclass(frozen=True)
class Program:
    """What to run, and how to tell that it is ready and how to end it."""

    name: str
    argv: tuple[str, ...]
    #: all its variables; nothing of this process's own is added
    environment: Mapping[str, str]
    #: its working directory
    folder: Path
    #: may be asked often and while the process is not there; answers within a few seconds; a job is not asked
    is_ready: Callable[[Run], bool] = field(default=lambda run: run.announced.is_set())
    #: the TCP port on 127.0.0.1 on which it listens, for the status; None: none
    port: int | None = None
    #: once a line with this text has been said, `run.announced` is set; None: never
    ready_text: str | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    #: at a stop those with a lower number end first: what takes new work before what finishes it
    stop_phase: int = 0
    #: seconds from the stop signal to SIGKILL
    patience: float = 20.0
    #: runs before every start: clears away what an earlier run left
    before: Callable[[], None] = field(default=lambda: None)
    #: uid and gid that it runs as; None: those of this process
    user: int | None = None
    group: int | None = None


class Kept:
    """A program kept running.

    Wanted down at first. `start` and `wait_ready` bring it up, and an end before it was ready for the first
    time is an error: no use repeating a start that cannot work. From `watch` on it is started again whenever
    it ends, by the thread of the run that ended, after a delay that grows while it keeps on dying.
    """

    def __init__(self, program: Program, output: Output, *, say: Say, changed: Callable[[], None]) -> None:
        self.program = program
        self.output = output
        self._say, self._changed = say, changed
        self._lock = threading.Lock()
        self._down = threading.Event()
        self._down.set()
        self._watched = False
        self._delay = FIRST_DELAY
        self._run: Run | None = None

    @property
    def name(self) -> str:
        return self.program.name

    @property
    def run(self) -> Run | None:
        """The current run; None when the process has ended or was never started."""
        run = self._run
        return None if run is None or run.ended.is_set() else run

    def start(self, environment: Mapping[str, str] | None = None) -> None:
        """Start it, with these variables added for this one run; nothing happens when it runs already.

        Raises StartFailed when it cannot be started.
        """
        with self._lock:
            self._down.clear()
            if self.run is None:
                try:
                    self._launch(environment or {})
                except OSError as error:
                    raise StartFailed(f"{self.name} cannot be started: {error}.") from error
        self._changed()

    def watch(self) -> None:
        """From now on, start it again whenever it ends."""
        with self._lock:
            self._watched = True
            run = self._run
        if run is not None and run.ended.is_set():
            threading.Thread(target=self._revive, args=(run,), daemon=True).start()

    def wait_ready(self, timeout: float, interrupted: threading.Event | None = None) -> None:
        """Wait until the current run is ready; a run that was signalled to end does not count.

        Raises StartFailed when it is not ready in time, is held down, or ended unwatched; Interrupted when
        that event is set.
        """
        for _ in self._looks(timeout, "ready", interrupted):
            if self._is_ready():
                return
            if self._down.is_set():
                raise StartFailed(f"{self.name} is held down.")
            last = self._run
            if not self._watched and last is not None and last.ended.is_set():
                raise self._failure(f"ended ({last.how_it_ended()}) before it was ready")

    def wait_done(self, timeout: float, interrupted: threading.Event | None = None) -> None:
        """Wait until a program that is meant to end has ended well.

        Raises StartFailed when it ended otherwise or not in time; Interrupted when that event is set.
        """
        for _ in self._looks(timeout, "done", interrupted):
            last = self._run
            if last is not None and last.ended.is_set():
                if last.returncode:
                    raise self._failure(f"failed ({last.how_it_ended()})")
                return

    def ask_to_end(self, sig: int | None = None) -> None:
        """Want it down, and tell it so by `sig` (default: the polite signal) without waiting."""
        self._down.set()
        with self._lock:  # a restart that was under way is through: the run seen here is the last
            run = self._run
        if run is None:
            return
        if sig == signal.SIGKILL:
            run.signal_all(signal.SIGKILL)
        else:
            run.ask_to_end(sig or self.program.stop_signal)

    def wait_for_end(self, asked_at: float) -> None:
        """Wait out its patience, counted from `asked_at` (as time.monotonic), then kill it and say so."""
        run = self._run
        if run is None:
            return
        if not run.end_by(asked_at + self.program.patience):
            self._say(f"{self.name} did not stop within {self.program.patience:g} s: killed")
        self._changed()

    def end(self, sig: int | None = None) -> None:
        """Take it down and keep it down."""
        asked_at = time.monotonic()
        self.ask_to_end(sig)
        self.wait_for_end(asked_at)

    def _looks(self, timeout: float, what: str, interrupted: threading.Event | None) -> Iterator[None]:
        """Time to look, again and again."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            yield
            if interrupted is not None and interrupted.is_set():
                raise Interrupted(f"Asked to stop while waiting for {self.name}.")
            time.sleep(LOOK_EVERY)
        raise self._failure(f"was not {what} within {timeout:g} s")

    def _is_ready(self) -> bool:
        run = self.run
        return run is not None and not run.doomed and self.program.is_ready(run) and run is self.run

    def _launch(self, extra: Mapping[str, str]) -> None:
        self.program.before()
        self._run = Run(
            self.program.argv,
            environment={**self.program.environment, **extra},
            folder=self.program.folder,
            on_line=self.output.add,
            on_end=self._ended,
            ready_text=self.program.ready_text,
            user=self.program.user,
            group=self.program.group,
        )

    def _ended(self, run: Run) -> None:
        self._changed()
        if self._watched:
            self._revive(run)

    def _revive(self, run: Run) -> None:
        """Put a new run in the place of this ended one, unless somebody did, or it is wanted down."""
        if run.doomed or run.lasted > HEALTHY_AFTER:  # killed on purpose: no sign of a failing program
            self._delay = FIRST_DELAY
        how = run.how_it_ended()
        while not self._down.wait(self._delay):
            self._delay = min(self._delay * 2, LONGEST_DELAY)
            with self._lock:
                if self._down.is_set() or self._run is not run:
                    return
                try:
                    self._launch({})
                except (OSError, LocalServersError) as error:
                    self._say(f"{self.name} ended ({how}) and could not be started again: {error}")
                    continue
                new = self._run
            self._changed()
            self._say(f"{self.name} ended ({how}), started again as pid {new.pid}")
            return

    def _failure(self, what: str) -> StartFailed:
        if self._run is not None and self._run.ended.is_set():
            self._run.wait_for_last_words()
        said = self.output.tail() or "(it said nothing)"
        return StartFailed(f"{self.name} {what}; its output is in {self.output.path}:\n{said}")
