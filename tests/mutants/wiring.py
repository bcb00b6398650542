"""What a service is put together from: what does not fit is refused, and what it needs starts by itself."""

from __future__ import annotations

from .mutant import Mutant

_ENGINE = "../engine/tests/"
_CALLS = "eager/protocol/test_who_calls_whom.py::"

WIRING = (
    Mutant(
        "a Celery app that is not configured is refused",
        "engine/src/atomic_commit/engine.py",
        "        _assert_configured(celery, installation, service)\n",
        "",
        _ENGINE + "test_wiring.py::test_an_app_that_is_not_configured_for_the_service_is_refused",
    ),
    Mutant(
        "a kind with a branch of a service that may not be called does not start",
        "engine/src/atomic_commit/engine.py",
        "            check_calls(service, kinds, calls)\n",
        "            pass\n",
        "unit/protocol/test_branch_names.py::test_a_kind_with_a_branch_of_a_service_that_is_not_to_be_called_does_not_start",
    ),
    Mutant(
        "who may be called is what the manifest says",
        "service_roles/engine.py",
        "        calls=CALLS[service],\n",
        "",
        "unit/protocol/test_branch_names.py::test_the_engine_of_a_service_is_given_what_the_manifest_says",
    ),
    Mutant(
        "who may call is what the manifest says",
        "service_roles/engine.py",
        "        coordinators=CALLERS[service],\n",
        "",
        "unit/protocol/test_branch_names.py::test_the_engine_of_a_service_is_given_what_the_manifest_says",
    ),
    Mutant(
        "nothing is prepared for a coordinator that may not call",
        "engine/src/atomic_commit/engine.py",
        "            self._assert_called_by(which.coordinator)\n",
        "",
        _CALLS + "test_nothing_is_prepared_for_a_coordinator_that_may_not_call_and_that_is_said_once",
    ),
    Mutant(
        "an outcome is obeyed, whoever sends it",
        "engine/src/atomic_commit/engine.py",
        "            answered = self._answered(self.participant.commit(which, database, epoch))\n",
        "            self._assert_called_by(which.coordinator)\n"
        "            answered = self._answered(self.participant.commit(which, database, epoch))\n",
        _CALLS + "test_what_stands_prepared_is_committed_for_a_coordinator_that_may_not_call_any_more",
    ),
    Mutant(
        "a driver that the protocol does not know is refused",
        "engine/src/atomic_commit/postgres/database.py",
        "    if not separator or scheme not in",
        "    if not separator and scheme not in",
        _ENGINE + "test_wiring.py::test_another_driver_is_refused_in_one_line",
    ),
    Mutant(
        "those who migrate at the same moment wait for each other",
        "engine/src/atomic_commit/journal/migrations.py",
        '        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ONE_AT_A_TIME})\n',
        "",
        _ENGINE + "test_migrations.py::test_those_who_migrate_at_the_same_moment_do_it_once",
    ),
    Mutant(
        "somebody else's database is not migrated, without Alembic",
        "engine/src/atomic_commit/engine.py",
        "            if is_named(connection):\n                claim(",
        "            if False:\n                claim(",
        _ENGINE + "test_migrations.py::test_somebody_elses_database_is_not_migrated",
    ),
    Mutant(
        "a worker of another app starts nothing",
        "engine/src/atomic_commit/workers/at_work.py",
        "        if sender.app is not celery:\n            return\n",
        "",
        "eager/recovery/test_clocks.py::test_a_worker_whose_clock_is_days_off_says_so_at_its_start_and_does_not_count_as_well",
    ),
    Mutant(
        "an outcome worker recovers by itself",
        "engine/src/atomic_commit/workers/at_work.py",
        "            atomic.sweeper.start()\n",
        "            pass\n",
        "broker/recovery/test_outages.py::test_what_is_asked_while_the_broker_is_down_is_accepted_and_done_when_it_is_back[redis]",
    ),
)
