"""A process of the embedded shop is started again when it dies, unless it is held down."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from local_servers.errors import StartFailed
from local_servers.identity import identity
from local_servers.output import KEPT_LINES, Output
from local_servers.supervision import Kept, Program

FAITHFUL = "print('worker ready.', flush=True); import time; time.sleep(60)"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + FAITHFUL
WITH_HELPER = "import subprocess; print(subprocess.Popen(['sleep', '60']).pid, flush=True); " + FAITHFUL

Keep = Callable[..., Kept]


@pytest.fixture
def said() -> list[str]:
    """What the launcher said."""
    return []


@pytest.fixture
def keep(tmp_path: Path, said: list[str]) -> Iterator[Keep]:
    """Makes a kept process from a Python script; ends it with the test."""

    def make(script: str, patience: float = 5.0) -> Kept:
        program = Program(
            name="worker",
            argv=(sys.executable, "-u", "-c", script),
            environment=dict(os.environ),
            folder=tmp_path,
            is_ready=lambda run: run.announced.is_set(),
            ready_text=" ready.",
            patience=patience,
        )
        output = Output("worker", tmp_path, None)
        ends.callback(output.close)
        kept = Kept(program, output, say=said.append, changed=lambda: None)
        ends.callback(kept.end, signal.SIGKILL)
        return kept

    with contextlib.ExitStack() as ends:
        yield make


def up(kept: Kept) -> int:
    """Start it, watched; its pid."""
    kept.start()
    kept.wait_ready(5)
    kept.watch()
    return pid(kept)


def pid(kept: Kept) -> int:
    assert kept.run is not None
    return kept.run.pid


def until(condition: Callable[[], bool], seconds: float = 5) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


def test_a_killed_process_is_started_again_and_it_is_said(keep: Keep, said: list[str]) -> None:
    kept = keep(FAITHFUL)
    first = up(kept)
    os.kill(first, signal.SIGKILL)
    assert until(lambda: kept.run is not None and kept.run.pid != first)
    kept.wait_ready(5)
    assert until(lambda: said == [f"worker ended (signal 9), started again as pid {pid(kept)}"])


def test_ready_is_said_of_the_run_that_is_there_not_of_the_one_that_was_killed(keep: Keep) -> None:
    kept = keep(FAITHFUL)
    first = up(kept)
    assert kept.run is not None
    kept.run.signal_all(signal.SIGTERM)
    kept.wait_ready(5)
    assert pid(kept) != first


def test_helpers_do_not_outlive_the_process_that_started_them(keep: Keep) -> None:
    kept = keep(WITH_HELPER)
    first = up(kept)
    helper = int(kept.output.text().split()[0])
    assert identity(helper)
    os.kill(first, signal.SIGKILL)
    assert until(lambda: identity(helper) is None)


def test_a_process_held_down_stays_down_until_it_is_brought_up(keep: Keep, said: list[str]) -> None:
    others = set(threading.enumerate())
    kept = keep(FAITHFUL)
    first = up(kept)
    kept.end()
    assert until(lambda: set(threading.enumerate()) <= others), "somebody is left who might start it again"
    assert kept.run is None
    with pytest.raises(StartFailed, match="held down"):
        kept.wait_ready(5)
    kept.start()
    kept.wait_ready(5)
    assert pid(kept) != first
    assert said == []


def test_a_variable_for_one_run_is_gone_in_the_next(keep: Keep) -> None:
    kept = keep("import os; print('crash here:', os.environ.get('CRASH_HERE')); " + FAITHFUL)
    kept.start({"CRASH_HERE": "yes"})
    kept.wait_ready(5)
    kept.watch()
    os.kill(pid(kept), signal.SIGKILL)
    assert until(lambda: kept.output.text().count("ready.") == 2)
    assert [line for line in kept.output.text().splitlines() if "crash" in line] == [
        "crash here: yes",
        "crash here: None",
    ]


def test_a_frozen_process_can_still_be_ended_cleanly(keep: Keep, said: list[str]) -> None:
    kept = keep(FAITHFUL)
    os.kill(up(kept), signal.SIGSTOP)
    kept.end()
    assert said == []


def test_an_overlong_stop_is_a_kill_and_it_is_said(keep: Keep, said: list[str]) -> None:
    kept = keep(STUBBORN, patience=0.3)
    up(kept)
    kept.end()
    assert said == ["worker did not stop within 0.3 s: killed"]


def test_a_process_that_cannot_start_is_an_error_with_its_last_words(keep: Keep) -> None:
    kept = keep("raise SystemExit('no such table')")
    kept.start()
    with pytest.raises(StartFailed, match=r"worker ended \(exit code 1\) before it was ready(?s:.*)no such table"):
        kept.wait_ready(5)
    assert kept.run is None


def test_one_that_dies_over_and_over_is_started_less_and_less_often(keep: Keep) -> None:
    kept = keep(FAITHFUL)
    up(kept)
    starts: list[float] = []
    while len(starts) < 4:
        before = pid(kept)
        os.kill(before, signal.SIGKILL)
        assert until(lambda before=before: kept.run is not None and kept.run.pid != before)
        starts.append(time.monotonic())
    waits = [later - earlier for earlier, later in pairwise(starts)]
    assert waits == sorted(waits)
    assert waits[-1] > 0.7  # 0.1, 0.2, 0.4, 0.8


def test_the_most_recent_lines_are_kept_and_all_are_in_the_file(tmp_path: Path) -> None:
    output = Output("worker", tmp_path, None)
    for number in range(KEPT_LINES + 5):
        output.add(f"line {number}")
    output.close()
    assert output.text().startswith("line 5\n")
    assert len((tmp_path / "worker.log").read_text().splitlines()) == KEPT_LINES + 5


def test_a_terminal_that_has_gone_does_not_stop_the_reading(tmp_path: Path) -> None:
    def gone(name: str, line: str) -> None:
        raise BrokenPipeError

    with contextlib.closing(Output("worker", tmp_path, gone)) as output:
        output.add("still here")
    assert output.text() == "still here\n"
