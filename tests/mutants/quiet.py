"""Mutants of what keeps a service quiet: connections that are read, threads that are not all taken."""

from __future__ import annotations

from .mutant import Mutant

_NOTICES = "eager/test_notices.py::"

QUIET = (
    Mutant(
        "nobody listens while nobody waits",
        "atomic_commit/watch.py",
        "                        self._notices.stop()\n",
        "                        pass\n",
        _NOTICES + "test_an_api_for_which_nobody_waits_listens_to_nothing_and_holds_no_snapshot",
    ),
    Mutant(
        "a listener that is frozen is ended by the server",
        "atomic_commit/notices.py",
        'cursor.execute(f"SET tcp_user_timeout = {_READS_WITHIN}")',
        "pass",
        _NOTICES + "test_a_listener_that_is_frozen_is_ended_by_the_server",
    ),
)
