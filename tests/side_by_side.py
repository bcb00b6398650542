"""``make test``: all tests, in parts of which three run at the same time. Most wait: for a broker, a lock, a clock.

Each part is a pytest of its own with servers of its own. What a part has said is shown when it ends: of one that passed
the last lines, of one that failed all of it.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tests.crash.termination import end_by_exception

ROOT = Path(__file__).resolve().parents[1]
AT_ONCE = 3
#: Name → what pytest is told. The longest first, so that the last to end does not end alone.
PARTS = {
    "on Redis": ("tests/broker", "--broker", "redis"),
    "eager": ("tests/eager",),
    "on RabbitMQ": ("tests/broker", "--only-on", "rabbitmq"),
    "engine, unit, documents, examples, model": (
        *("engine/tests", "tests/unit", "tests/docs", "tests/examples", "tests/model"),
    ),
}
#: Seconds between two lines about how far they are.
_PROGRESS = 60.0
#: pytest's exit codes for "all passed", and for "nothing was there to be run".
_FINE = (0, 5)


@dataclass
class Part:
    name: str
    output: Path
    file: IO[bytes]
    process: subprocess.Popen[bytes]
    began: float

    @property
    def percent(self) -> str:
        found = re.findall(r"\[ *(\d+%)\]", self.output.read_text(errors="replace"))
        return found[-1] if found else "0%"


def main() -> int:
    end_by_exception()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="tests-") as folder:
        failed = _run_all(Path(folder), began)
    told = f"FAILED: {', '.join(failed)}" if failed else "all parts passed"
    print(f"\n==== {time.monotonic() - began:.0f} s: {told}")
    return 1 if failed else 0


def _run_all(folder: Path, began: float) -> list[str]:
    """Returns the names of the parts that failed."""
    waiting: list[str] = list(PARTS)
    running: list[Part] = []
    failed: list[str] = []
    told = began
    try:
        while waiting or running:
            while waiting and len(running) < AT_ONCE:
                running.append(_start(waiting.pop(0), folder))
            time.sleep(0.5)
            for part in [part for part in running if part.process.poll() is not None]:
                running.remove(part)
                if not _ended_well(part):
                    failed.append(part.name)
            if running and time.monotonic() - told > _PROGRESS:
                told = time.monotonic()
                print(f"{told - began:4.0f} s: " + "; ".join(f"{p.name} {p.percent}" for p in running), flush=True)
    finally:
        _end(running)
    return failed


def _start(name: str, folder: Path) -> Part:
    print(f"begins: {name}", flush=True)
    output = folder / f"{len(list(folder.iterdir()))}.txt"
    file = output.open("wb")
    argv = [sys.executable, "-m", "pytest", "-ra", "-p", "no:cacheprovider", *PARTS[name]]
    # In a session of its own: Ctrl-C comes to this process, which passes it on once.
    process = subprocess.Popen(argv, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT, start_new_session=True)
    return Part(name, output, file, process, time.monotonic())


def _ended_well(part: Part) -> bool:
    """Show what it has said. Returns whether all is well."""
    part.file.close()
    lines = part.output.read_text(errors="replace").splitlines()
    fine = part.process.returncode in _FINE
    heading = next((n for n, line in enumerate(lines) if "short test summary" in line), len(lines) - 1)
    print(f"\n==== {part.name}: {'passed' if fine else 'FAILED'} after {time.monotonic() - part.began:.0f} s")
    print("\n".join(lines[heading:] if fine else lines), flush=True)
    return fine


def _end(running: Sequence[Part]) -> None:
    """Told to stop: each takes its servers down before it ends."""
    for part in running:
        part.process.send_signal(signal.SIGINT)
    for part in running:
        part.process.wait()
        part.file.close()


if __name__ == "__main__":
    sys.exit(main())
