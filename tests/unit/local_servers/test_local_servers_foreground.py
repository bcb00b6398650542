"""An application in a terminal: the first signal asks for its end, the next one kills, and nothing is torn."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from queue import SimpleQueue
from typing import Any, cast

import pytest

from local_servers.application import Application
from local_servers.foreground import STOPPING, AskedToStop, Foreground

WITHIN = 5.0


class Recorder:
    """In an application's place: what it is told, in order."""

    def __init__(self) -> None:
        self.told: SimpleQueue[str] = SimpleQueue()

    def interrupt(self) -> None:
        self.told.put("interrupt")

    def kill_all(self) -> None:
        self.told.put("kill")

    def next(self) -> str:
        return self.told.get(timeout=WITHIN)


@pytest.fixture
def application() -> Recorder:
    return Recorder()


@pytest.fixture
def terminal(application: Recorder) -> Iterator[Foreground]:
    with Foreground() as entered:
        entered.watch_over(cast(Application, application))
        yield entered


@pytest.fixture
def handlers() -> dict[int, Any]:
    return {sig: signal.getsignal(sig) for sig in STOPPING}


def send(sig: int) -> None:
    """The handler has run when this returns."""
    signal.raise_signal(sig)


@pytest.mark.parametrize("sig", STOPPING)
def test_the_first_signal_asks_for_the_end_and_each_further_one_kills(
    terminal: Foreground, application: Recorder, sig: int
) -> None:
    waiting = threading.Thread(target=terminal.wait, daemon=True)
    waiting.start()
    send(sig)
    assert application.next() == "interrupt"
    waiting.join(WITHIN)
    assert not waiting.is_alive()
    for again in STOPPING:
        send(again)
        assert application.next() == "kill"


def test_a_signal_raises_where_that_is_wanted_and_nowhere_else(terminal: Foreground, application: Recorder) -> None:
    with pytest.raises(AskedToStop), terminal.raised():
        send(signal.SIGTERM)
    send(signal.SIGTERM)
    assert (application.next(), application.next()) == ("interrupt", "kill")


def test_a_signal_that_came_before_raises_at_once(terminal: Foreground) -> None:
    send(signal.SIGINT)
    with pytest.raises(AskedToStop), terminal.raised():
        pytest.fail("it was asked to stop")


def test_a_signal_that_comes_before_there_is_an_application_is_for_it(application: Recorder) -> None:
    with Foreground() as terminal:
        send(signal.SIGTERM)
        assert terminal.came
        terminal.watch_over(cast(Application, application))
        assert application.next() == "interrupt"


def test_what_is_ignored_stays_ignored_and_afterwards_all_is_as_before(handlers: dict[int, Any]) -> None:
    """As under nohup."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Foreground() as terminal:
            os.kill(os.getpid(), signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
            assert signal.getsignal(signal.SIGINT) != handlers[signal.SIGINT]
            assert not terminal.came
    finally:
        signal.signal(signal.SIGHUP, handlers[signal.SIGHUP])
    assert {sig: signal.getsignal(sig) for sig in STOPPING} == handlers
