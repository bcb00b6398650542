"""What a service is put together from: what does not fit is refused, and what it needs starts by itself."""

from __future__ import annotations

from .mutant import Mutant

_ENGINE = "../engine/tests/"

WIRING = (
    Mutant(
        "a Celery app that is not configured is refused",
        "engine/src/atomic_commit/engine.py",
        "        _assert_configured(celery, installation, service)\n",
        "",
        _ENGINE + "test_wiring.py::test_an_app_that_is_not_configured_for_the_service_is_refused",
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
