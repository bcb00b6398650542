"""A shell that types what a document says, in a folder with the document's files."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from pathlib import Path

from documents import Typed, commands_of, files_of

#: What a shell says after each command: never part of what the command shows.
_END = "-- end of command --"


class Reader:
    """Who follows a document in one bash session."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder, self.environment = folder, environment
        self._errors = open(folder / "stderr", "w")  # noqa: SIM115 - closed by `close`
        self._shell = subprocess.Popen(
            ["bash"],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            start_new_session=True,
        )

    def save(self, document: Path) -> None:
        for name, text in files_of(document).items():
            (self.folder / name).write_text(text)

    def follow(self, document: Path) -> list[tuple[Typed, str]]:
        """Type all commands of the document. Returns each with what it has shown."""
        return [(typed, self.type(typed.command)) for typed in commands_of(document)]

    def type(self, command: str) -> str:
        assert self._shell.stdin
        assert self._shell.stdout
        self._shell.stdin.write(f"{command}\necho '{_END}'\n")
        self._shell.stdin.flush()
        shown = []
        for line in self._shell.stdout:
            if line == f"{_END}\n":
                return "".join(shown)
            shown.append(line)
        raise AssertionError(f"the shell has ended in {command!r}: {self.said()}")

    def said(self) -> str:
        """What went to stderr and to the log files."""
        logs = [self.folder / "stderr", *sorted(self.folder.glob("*.log")), *sorted(self.folder.glob("*.txt"))]
        return "\n".join(f"== {log.name}\n{log.read_text()[-3000:]}" for log in logs)

    def close(self) -> None:
        """End the shell and all that it has started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._shell.pid, signal.SIGKILL)
        self._shell.communicate()
        self._errors.close()
