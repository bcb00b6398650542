"""Mutants of what keeps a service quiet: connections that are read, threads that are not all taken."""

from __future__ import annotations

from .mutant import Mutant

_NOTICES = "eager/messages/test_notices.py::"

QUIET = (
    Mutant(
        "nobody listens while nobody waits",
        "engine/src/atomic_commit/coordinator/wait.py",
        "                        self._notices.stop()\n",
        "                        pass\n",
        _NOTICES + "test_an_api_for_which_nobody_waits_listens_to_nothing_and_holds_no_snapshot",
    ),
    Mutant(
        "a listener that is frozen is ended by the server",
        "engine/src/atomic_commit/postgres/notices.py",
        'cursor.execute(f"SET tcp_user_timeout = {_READS_WITHIN}")',
        "pass",
        _NOTICES + "test_a_listener_that_is_frozen_is_ended_by_the_server",
    ),
    Mutant(
        "waiting requests do not take every thread",
        "http_api/distributed.py",
        "        if not admitted:\n            return record, {}\n",
        "",
        "broker/concurrency/test_many_wait.py::test_readers_and_health_are_answered_while_more_clients_wait_than_there_are_threads[redis]",
    ),
    Mutant(
        "some threads are kept for whoever asks whether the process is well",
        "http_api/admission.py",
        "        if not admission.enter():\n",
        "        if False:\n",
        "unit/concurrency/test_admission.py::test_who_finds_all_places_taken_is_told_to_come_again",
    ),
    Mutant(
        "a request that is answered gives its thread back",
        "http_api/admission.py",
        '        if flask.g.pop("admitted", False):\n',
        "        if False:\n",
        "unit/concurrency/test_admission.py::test_whatever_becomes_of_a_request_its_thread_is_free_again",
    ),
)
