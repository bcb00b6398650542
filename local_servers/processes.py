"""One run of a child process: started in a session of its own, its output read, signalled, reaped."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

from local_servers.identity import descendants, identity, read_stat

ENDING = frozenset({signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGABRT})
"""Signals after which a process is expected to be gone soon."""


class Run:
    """A child process from its start to its end.

    It leads a session, and so a process group, of its own: a Ctrl-C at the terminal reaches the launcher
    alone, and a signal can be given to the process together with its helpers (a pool's processes).

    When the process ends, what is left of its group is killed *before* the process is reaped: as long as it
    is a zombie its number cannot be given to anybody else, so no stranger is ever hit. For the same reason
    every signal is sent under the lock that reaping takes.

    `on_end` is called from a thread of the run, once the process is reaped and its output is read.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        environment: Mapping[str, str],
        folder: Path,
        on_line: Callable[[str], None],
        on_end: Callable[[Run], None] = lambda run: None,
        ready_text: str | None = None,
        user: int | None = None,
        group: int | None = None,
    ) -> None:
        """Start it. Raises OSError when the program cannot be run."""
        self.ended = threading.Event()
        self.announced = threading.Event()
        """A line with `ready_text` was seen."""
        self.doomed = False
        """Somebody signalled it to end: whatever it still answers, it is not ready."""
        self.started_at = time.monotonic()
        self._on_line, self._on_end, self._ready_text = on_line, on_end, ready_text
        self._lock = threading.Lock()
        self._reaped = False
        self._child = subprocess.Popen(
            list(argv),
            env=dict(environment),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            user=user,
            group=group,
            extra_groups=None if user is None else [],
        )
        self.pid = self._child.pid
        self.identity = identity(self.pid)
        assert self._child.stdout is not None
        self._reader = threading.Thread(target=self._read, args=(self._child.stdout,), daemon=True)
        self._reader.start()
        threading.Thread(target=self._wait_and_reap, daemon=True).start()

    @property
    def returncode(self) -> int | None:
        """As in subprocess: the exit code, minus the signal's number, or None while it runs."""
        return self._child.returncode

    @property
    def lasted(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.started_at

    def how_it_ended(self) -> str:
        """For people: "signal 9", "exit code 1"."""
        code = self.returncode or 0
        return f"signal {-code}" if code < 0 else f"exit code {code}"

    def signal(self, sig: int) -> bool:
        """Signal the process alone. False when it has ended."""
        with self._lock:
            if self._reaped:
                return False
            self.doomed = self.doomed or sig in ENDING
            os.kill(self.pid, sig)
            return True

    def signal_all(self, sig: int) -> bool:
        """Signal the process, its group, and descendants that left the group (PostgreSQL's backends do).

        False when it has ended.
        """
        with self._lock:
            if self._reaped:
                return False
            self.doomed = self.doomed or sig in ENDING
            strays = self._strays()
            self._signal_group(sig)
            for stray in strays:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(stray, sig)
                os.close(stray)
            return True

    def ask_to_end(self, sig: int) -> None:
        """Send the polite signal, and wake the process if it was stopped, so that it can hear it."""
        if self.signal(sig):
            self.signal_all(signal.SIGCONT)

    def end_by(self, deadline: float) -> bool:
        """Wait for the end until `deadline` (as time.monotonic), then kill: False when that was needed."""
        if self.ended.wait(max(0.0, deadline - time.monotonic())):
            return True
        self.signal_all(signal.SIGKILL)
        self.ended.wait()
        return False

    def wait_for_last_words(self) -> None:
        """After the end: until its output is read, but not long. A helper may hold the pipe for longer."""
        self._reader.join(0.5)

    def _strays(self) -> list[int]:
        """Descendants outside the group, as pid file descriptors (Linux; elsewhere none).

        Such a descriptor means that process and no later one with the same number. Its parentage is looked
        at again once it is held.
        """
        if sys.platform != "linux":
            return []
        held = []
        for pid in descendants(self.pid):
            stat = read_stat(pid)
            if stat is None or stat.group == self.pid:
                continue
            with contextlib.suppress(OSError):
                descriptor = os.pidfd_open(pid)
                again = read_stat(pid)
                if again is not None and again.started == stat.started and again.parent == stat.parent:
                    held.append(descriptor)
                else:
                    os.close(descriptor)
        return held

    def _signal_group(self, sig: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS: a group of zombies
            os.killpg(self.pid, sig)

    def _read(self, pipe: IO[bytes]) -> None:
        with pipe:
            for raw in pipe:
                line = raw.decode(errors="replace").rstrip("\r\n")
                self._on_line(line)
                if self._ready_text and self._ready_text in line:
                    self.announced.set()

    def _wait_and_reap(self) -> None:
        if sys.platform == "linux":
            os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
            with self._lock:
                self._signal_group(signal.SIGKILL)
                self._reap()
        else:
            while not self._reaped:
                time.sleep(0.03)
                with self._lock:
                    if self._child.poll() is not None:
                        self._reap()
        self.ended.set()
        self.wait_for_last_words()
        self._on_end(self)

    def _reap(self) -> None:
        self._child.wait()
        self._reaped = True
