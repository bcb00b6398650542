"""Mutants of what keeps installations apart: names, owners of databases, and yeses that say where."""

from __future__ import annotations

from .mutant import Mutant

_INSTALLATIONS = "eager/deployment/test_installations.py::"

INSTALLATIONS = (
    Mutant(
        "a yes from another database counts for nothing",
        "engine/src/atomic_commit/coordinator/decide.py",
        "if ballot.database and not self._databases.accepts(",
        "if False and not self._databases.accepts(",
        _INSTALLATIONS + "test_a_yes_from_another_database_is_worth_nothing",
    ),
    Mutant(
        "an answer from another database counts for nothing",
        "engine/src/atomic_commit/engine.py",
        'if not self.coordinator.databases.accepts(service_of(which.branch), said["database"]):',
        "if False:",
        _INSTALLATIONS + "test_an_answer_from_another_database_settles_nothing",
    ),
    Mutant(
        "the first database that is seen is pinned: in the journal",
        "engine/src/atomic_commit/coordinator/known_databases.py",
        "            journal.pin_database(session, service, database)\n        self._read()\n",
        "            pass\n        self._known.setdefault(service, database)\n",
        _INSTALLATIONS + "test_the_database_that_is_seen_first_is_pinned_for_every_process",
    ),
    Mutant(
        "the first database that is seen is pinned: no other takes its place",
        "engine/src/atomic_commit/journal/pinning.py",
        ".on_conflict_do_nothing()",
        '.on_conflict_do_update(index_elements=["service"], set_={"database": database})',
        _INSTALLATIONS + "test_only_a_person_lets_another_database_take_the_place_of_the_first",
    ),
    Mutant(
        "what is meant for another database is refused",
        "engine/src/atomic_commit/postgres/identity.py",
        "        if meant not in (None, database):",
        "        if False:",
        _INSTALLATIONS + "test_an_outcome_that_is_meant_for_another_database_is_neither_done_nor_answered",
    ),
    Mutant(
        "a branch that is meant for another database is not run",
        "engine/src/atomic_commit/participant/prepared.py",
        "self._identity.assert_own(found, meant_for)",
        "self._identity.assert_own(found, None)",
        _INSTALLATIONS + "test_a_branch_that_is_meant_for_another_database_is_not_run",
    ),
    Mutant(
        "messages say for which database they are meant: branches",
        "engine/src/atomic_commit/wire/messages.py",
        'kwargs={"gid": branch.task_id, "database": self._database_of(participant)},',
        'kwargs={"gid": branch.task_id, "database": None},',
        _INSTALLATIONS + "test_messages_say_for_which_database_they_are_meant",
    ),
    Mutant(
        "a branch asks in its own local transaction whose the database is",
        "engine/src/atomic_commit/postgres/identity.py",
        "WHERE installation = :installation AND service = :service)",
        "WHERE :installation <> '' AND :service <> '')",
        _INSTALLATIONS + "test_a_branch_does_not_run_at_somebody_elses_database",
    ),
    Mutant(
        "nothing begins at somebody else's database",
        "engine/src/atomic_commit/engine.py",
        "        self.identity.database()\n        return self._to_be_shown(",
        "        return self._to_be_shown(",
        _INSTALLATIONS + "test_nothing_begins_at_somebody_elses_database",
    ),
    Mutant(
        "no process starts at somebody else's database",
        "service_roles/main.py",
        "if not at_own_database(",
        "if False and not at_own_database(",
        _INSTALLATIONS + "test_a_process_does_not_start_at_somebody_elses_database",
    ),
    Mutant(
        "somebody else's database is not migrated",
        "service_roles/migrate.py",
        "                claim(connection, of_this_process, service)\n        command",
        "                pass\n        command",
        _INSTALLATIONS + "test_somebody_elses_database_is_not_even_migrated",
    ),
    Mutant(
        "an installation has no name unless it is given one",
        "engine/src/atomic_commit/names.py",
        "        if not name:\n            raise ValueError(",
        '        name = name or "main"\n        if not name:\n            raise ValueError(',
        _INSTALLATIONS + "test_a_process_whose_installation_is_not_named_says_what_to_set",
    ),
    Mutant(
        "queues carry the installation",
        "engine/src/atomic_commit/names.py",
        '        return f"{self}.{service}"\n',
        "        return service\n",
        "broker/deployment/test_two_installations.py::test_two_installations_on_one_broker_do_not_meet[redis]",
    ),
    Mutant(
        "remote control carries the installation",
        "engine/src/atomic_commit/workers/settings.py",
        '"control_exchange": f"{installation}.control",',
        '"control_exchange": "celery",',
        "broker/deployment/test_two_installations.py::test_two_installations_on_one_broker_do_not_meet[redis]",
    ),
    Mutant(
        "a repeated outcome is a task of its own",
        "engine/src/atomic_commit/wire/messages.py",
        "        one = secrets.token_hex(4)\n",
        '        one = "0"\n',
        _INSTALLATIONS + "test_a_repeated_outcome_is_a_task_of_its_own",
    ),
)
