"""One launcher for one state folder."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from local_servers.errors import LocalServersError


class StateLock:
    """A lock on `lock` in the state folder, with the holder's pid in it for people.

    The kernel gives it back when the holder ends, however it ends, so there is no stale lock. Children do
    not inherit it.
    """

    def __init__(self, state: Path, holder: str = "an application", stop_it: str = "stop it") -> None:
        """`holder` and `stop_it` are for the message to who comes second: who was first, and what to do about it."""
        self._state = state
        self._holder, self._stop_it = holder, stop_it
        self._file: int | None = None

    def acquire(self) -> None:
        """Take the lock, making the state folder if need be.

        Raises LocalServersError when another launcher holds it, or the folder cannot be written.
        """
        try:
            self._state.mkdir(parents=True, exist_ok=True)
            file = os.open(self._state / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise LocalServersError(
                f"Cannot write to the state folder {self._state} ({error.strerror}): "
                "make it yours, or choose another with EMBEDDED_STATE=…"
            ) from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.read(file, 20).decode().strip() or "unknown"
            os.close(file)
            raise LocalServersError(
                f"{self._holder.capitalize()} already runs in {self._state} (launcher pid {pid}): {self._stop_it}, "
                "or choose another folder with EMBEDDED_STATE=…"
            ) from None
        os.ftruncate(file, 0)
        os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
        self._file = file

    def release(self) -> None:
        """Give it back; nothing happens when it is not held. The file stays: removing it would race."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
