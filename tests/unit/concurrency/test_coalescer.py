"""One thread does what many want done at the same moment, and nobody is spared by what began before it asked."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from atomic_commit.coordinator.coalesce import Coalescer


class Work:
    """Work of which somebody is in the middle until ``go_on``."""

    def __init__(self) -> None:
        self.runs = 0
        self.inside, self.go_on = threading.Event(), threading.Event()

    def __call__(self) -> None:
        self.runs += 1
        self.inside.set()
        self.go_on.wait(10)


class Counted:
    """A lock that tells who asks for it, before they get it."""

    def __init__(self, lock: Any) -> None:
        self._lock, self.release = lock, lock.release
        self.one_more = threading.Semaphore(0)

    def acquire(self, timeout: float) -> bool:
        self.one_more.release()
        return self._lock.acquire(timeout=timeout)


def test_those_who_ask_while_somebody_is_at_it_need_one_more_run_for_all_of_them() -> None:
    once, work = Coalescer(10), Work()
    first = threading.Thread(target=once.do, args=(work,))
    first.start()
    work.inside.wait(10)
    once._turn = asked = Counted(once._turn)
    others = [threading.Thread(target=once.do, args=(work,)) for _ in range(5)]
    for other in others:
        other.start()
    for _ in others:
        assert asked.one_more.acquire(timeout=10)
    work.go_on.set()
    for thread in (first, *others):
        thread.join(10)
    assert work.runs == 2


def test_whoever_asks_afterwards_is_not_spared() -> None:
    once, runs = Coalescer(10), []
    for number in range(3):
        once.do(lambda number=number: runs.append(number))
    assert runs == [0, 1, 2]


def test_nobody_waits_for_longer_than_agreed() -> None:
    once, work = Coalescer(0.05), Work()
    first = threading.Thread(target=once.do, args=(work,))
    first.start()
    work.inside.wait(10)
    once.do(work)
    assert work.runs == 1
    work.go_on.set()
    first.join(10)


def test_what_is_raised_goes_to_the_one_who_did_it_and_the_next_can_go_on() -> None:
    once, runs = Coalescer(10), []
    with pytest.raises(ZeroDivisionError):
        once.do(lambda: 1 // 0)
    once.do(lambda: runs.append(1))
    assert runs == [1]
