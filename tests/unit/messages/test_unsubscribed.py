"""Overlapping threads leave Celery's flag as they found it."""

from __future__ import annotations

import threading

from celery._state import task_join_will_block

from atomic_commit.wire.unsubscribed import unsubscribed


def test_while_anybody_publishes_nobody_subscribes_and_afterwards_results_can_be_joined_again() -> None:
    first_is_inside, second_is_inside, first_is_out = threading.Event(), threading.Event(), threading.Event()
    seen: dict[str, bool] = {}

    def second() -> None:
        first_is_inside.wait(5)
        with unsubscribed():
            second_is_inside.set()
            first_is_out.wait(5)
            seen["while the second is inside"] = task_join_will_block()

    thread = threading.Thread(target=second)
    thread.start()
    with unsubscribed():
        first_is_inside.set()
        second_is_inside.wait(5)
        seen["while both are inside"] = task_join_will_block()
    first_is_out.set()
    thread.join()
    assert seen == {"while both are inside": True, "while the second is inside": True}
    assert not task_join_will_block()


def test_what_is_raised_inside_leaves_the_flag_as_it_was() -> None:
    try:
        with unsubscribed():
            raise ZeroDivisionError
    except ZeroDivisionError:
        pass
    assert not task_join_will_block()
