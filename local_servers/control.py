"""The processes of an application one by one: looked at, signalled, held down and brought up again."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from typing import ClassVar

from local_servers.errors import LocalServersError
from local_servers.output import Output
from local_servers.processes import Run
from local_servers.supervision import Kept

READY_WITHIN = 60.0


class ProcessControl:
    """What may be done to the processes that are kept, each by its name."""

    noun: ClassVar[str] = "application"
    """What messages call whose processes these are."""

    def __init__(self) -> None:
        self._outputs: dict[str, Output] = {}
        self._kept: dict[str, Kept] = {}

    def pid(self, name: str) -> int:
        """Of the process that runs now. Raises LocalServersError while there is none."""
        return self._run(name).pid

    def log_of(self, name: str) -> str:
        """The most recent lines (up to 2000) that the process said in all its runs since the start.

        Also of jobs, and of `launcher`.
        """
        if name not in self._outputs:
            raise LocalServersError(f"No process of the {self.noun} is called {name!r}.")
        return self._outputs[name].text()

    def kill(self, name: str, sig: int = signal.SIGKILL) -> None:
        """Signal the process with all its helpers. Supervision starts it again once it has ended.

        After SIGKILL it has ended when this returns. `wait_ready` counts the next run only, for this and for
        every other signal that ends. Raises LocalServersError when the process does not run.
        """
        run = self._run(name)
        run.signal_all(sig)
        if sig == signal.SIGKILL:
            run.ended.wait()

    def signal(self, name: str, sig: int) -> None:
        """Signal the process alone, but freeze and thaw (SIGSTOP, SIGCONT) it with all its helpers.

        Raises LocalServersError when the process does not run.
        """
        run = self._run(name)
        if sig in (signal.SIGSTOP, signal.SIGCONT):
            run.signal_all(sig)
        else:
            run.signal(sig)

    def hold_down(self, name: str, *, kill: bool = False) -> None:
        """End the process (SIGTERM or what it takes for a clean end; `kill`: SIGKILL) and keep it down."""
        self._find(name).end(signal.SIGKILL if kill else None)

    def bring_up(
        self, name: str, *, environment: Mapping[str, str] | None = None, timeout: float = READY_WITHIN
    ) -> None:
        """Start a process that is held down, and wait until it is ready.

        `environment` is added for this one run: what supervision starts after it does not have it. Raises
        StartFailed when it is not ready in time.
        """
        kept = self._find(name)
        kept.start(environment)
        kept.wait_ready(timeout)

    def wait_ready(self, name: str, timeout: float = READY_WITHIN) -> None:
        """Wait until the process runs and is ready.

        Raises StartFailed when it is not in time, at once when it is held down or dead without supervision.
        """
        self._find(name).wait_ready(timeout)

    def _find(self, name: str) -> Kept:
        if name not in self._kept:
            known = ", ".join(self._kept) or f"none: the {self.noun} is not up"
            raise LocalServersError(f"No process of the {self.noun} is called {name!r} (there is: {known}).")
        return self._kept[name]

    def _run(self, name: str) -> Run:
        run = self._find(name).run
        if run is None:
            raise LocalServersError(f"{name} does not run at this moment.")
        return run
