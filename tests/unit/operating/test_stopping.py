"""An API that is told to stop says so, serves on for a while, and only then stops."""

from __future__ import annotations

import subprocess
import sys

_TOLD = """
import os, signal, sys, time
from http_api.stopping import is_stopping, say_so_before
stopped = []
say_so_before(lambda: stopped.append(time.monotonic()))
assert not is_stopping()
began = time.monotonic()
for _ in range(int(sys.argv[1])):
    os.kill(os.getpid(), signal.SIGTERM)
assert is_stopping()
while not stopped:
    time.sleep(0.01)
print(stopped[0] - began)
"""


def seconds_until_stop(signals: int) -> float:
    done = subprocess.run(
        [sys.executable, "-c", _TOLD, str(signals)], env={"WEB_DRAIN": "1"}, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0, done.stderr
    return float(done.stdout)


def test_who_is_told_to_stop_says_so_and_stops_later() -> None:
    assert seconds_until_stop(signals=1) >= 1


def test_who_is_told_twice_stops_at_once() -> None:
    assert seconds_until_stop(signals=2) < 1
