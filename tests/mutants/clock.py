"""Mutants of what makes a process speak of its clock."""

from __future__ import annotations

from .mutant import Mutant

_CLOCKS = "eager/recovery/test_clocks.py::"

CLOCK = (
    Mutant(
        "a clock that is days off is not ready",
        "engine/src/atomic_commit/postgres/readiness.py",
        "        if unfit := own_clock.look():\n            raise NotReady(unfit)\n",
        "        own_clock.look()\n",
        _CLOCKS + "test_a_clock_that_is_days_off_is_said_where_readiness_is_asked",
    ),
    Mutant(
        "a clock that is far behind is not ready",
        "engine/src/atomic_commit/postgres/clocks.py",
        "not -self.farthest_behind < ahead < self.farthest_ahead",
        "not ahead < self.farthest_ahead",
        _CLOCKS + "test_a_clock_that_is_days_off_is_said_where_readiness_is_asked",
    ),
    Mutant(
        "a clock that is hours off works",
        "engine/src/atomic_commit/limits.py",
        "        return max(self.message_lifetime / 2, self.message_lifetime - self.deadline)\n",
        "        return 300.0\n",
        _CLOCKS + "test_a_clock_that_is_hours_off_works_and_is_logged_once",
    ),
    Mutant(
        "a clock under which messages of undecided transactions expire is called wrong",
        "engine/src/atomic_commit/limits.py",
        "        return max(self.message_lifetime / 2, self.message_lifetime - self.deadline)\n",
        "        return self.message_lifetime\n",
        _CLOCKS + "test_a_clock_that_is_not_called_wrong_lets_no_message_of_an_undecided_transaction_expire",
    ),
    Mutant(
        "a worker looks at its clock when it starts",
        "engine/src/atomic_commit/workers/at_work.py",
        "        atomic.clock.start()\n",
        "",
        _CLOCKS + "test_a_worker_whose_clock_is_days_off_says_so_at_its_start_and_does_not_count_as_well",
    ),
    Mutant(
        "a worker whose clock is days off is not well",
        "engine/src/atomic_commit/workers/at_work.py",
        "atomic.sweeper.is_well() and atomic.clock.is_well()",
        "atomic.sweeper.is_well()",
        _CLOCKS + "test_a_worker_whose_clock_is_days_off_says_so_at_its_start_and_does_not_count_as_well",
    ),
    Mutant(
        "messages that are dropped as expired are spoken of",
        "engine/src/atomic_commit/workers/expired.py",
        "        if expired:\n",
        "        if False:\n",
        _CLOCKS + "test_who_drops_messages_as_expired_says_so_once_a_minute",
    ),
)
