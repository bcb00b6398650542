"""Mutants of what keeps a commit that is told from being forgotten."""

from __future__ import annotations

from .mutant import Mutant

_CONFIRMED = "eager/recovery/test_confirmed_commits.py::"
_READY = "eager/operating/test_readiness.py::"

DURABILITY = (
    Mutant(
        "commits are flushed, whatever the role says",
        "engine/src/atomic_commit/postgres/database.py",
        "        cursor.execute(_FLUSH_COMMITS)\n",
        "        pass\n",
        _CONFIRMED + "test_a_commit_is_flushed_whatever_the_role_says",
    ),
    Mutant(
        "commits that ask for more than a flush get it",
        "engine/src/atomic_commit/postgres/database.py",
        "NOT IN ('on', 'remote_apply')",
        "<> 'on'",
        _CONFIRMED + "test_a_commit_is_flushed_whatever_the_role_says",
    ),
    Mutant(
        "a prepare that was answered with a warning is no yes",
        "engine/src/atomic_commit/participant/prepared.py",
        "    if warning := last_warning(driver):\n",
        "    if False and (warning := last_warning(driver)):\n",
        _CONFIRMED + "test_a_prepared_branch_that_the_standby_may_not_have_is_no_yes",
    ),
    Mutant(
        "COMMIT PREPARED that was answered with a warning is not answered",
        "engine/src/atomic_commit/postgres/database.py",
        '    if warning := last_warning(driver):\n        raise Lost(f"{statement} is',
        '    if False and (warning := last_warning(driver)):\n        raise Lost(f"{statement} is',
        _CONFIRMED + "test_an_outcome_is_answered_once_the_standby_has_it",
    ),
    Mutant(
        "a commit that is done already is answered once it is confirmed",
        "engine/src/atomic_commit/participant/prepared.py",
        "            self._confirmation.wait()  # an earlier try may have done it without its standby\n",
        "",
        _CONFIRMED + "test_an_outcome_is_answered_once_the_standby_has_it",
    ),
    Mutant(
        "a commit that was answered with a warning is unknown",
        "engine/src/atomic_commit/postgres/confirmed.py",
        "        if warning := last_warning(connection):\n",
        "        if False and (warning := last_warning(connection)):\n",
        _CONFIRMED + "test_a_decision_that_the_standby_may_not_have_is_told_to_no_participant",
    ),
    Mutant(
        "a decision that somebody else has made is told once it is confirmed",
        "engine/src/atomic_commit/coordinator/coordinator.py",
        "            self._confirmation.wait()\n            return self._messages",
        "            return self._messages",
        _CONFIRMED + "test_a_decision_that_the_standby_may_not_have_is_told_to_no_participant",
    ),
    Mutant(
        "a decision is shown once it is confirmed",
        "engine/src/atomic_commit/engine.py",
        "            if record.decided:\n",
        "            if False:\n",
        _CONFIRMED + "test_a_decision_that_the_standby_may_not_have_is_shown_to_no_client",
    ),
    Mutant(
        "who waits is told once it is confirmed",
        "engine/src/atomic_commit/coordinator/wait.py",
        "            self._confirmation.wait()  # nobody is told what a failover may take back\n",
        "            pass\n",
        _CONFIRMED + "test_a_decision_that_the_standby_may_not_have_is_shown_to_no_client",
    ),
    Mutant(
        "a begin whose commit was not confirmed is accepted once it is",
        "engine/src/atomic_commit/coordinator/lost_begin.py",
        "            confirmation.wait()  # a row that is there may be one whose commit was not confirmed\n",
        "",
        _CONFIRMED + "test_a_request_that_the_standby_may_not_have_is_not_said_to_be_accepted",
    ),
    Mutant(
        "a standby is not ready",
        "engine/src/atomic_commit/postgres/readiness.py",
        "        if standby:\n",
        "        if False:\n",
        _READY + "test_a_standby_is_named",
    ),
    Mutant(
        "a read-only database is not ready",
        "engine/src/atomic_commit/postgres/readiness.py",
        'if shown("transaction_read_only") == "on":',
        "if False:",
        _READY + "test_a_setting_that_a_role_or_a_pooler_has_changed_is_named",
    ),
    Mutant(
        "a database that forgets is not ready",
        "engine/src/atomic_commit/postgres/readiness.py",
        "        if weak:\n",
        "        if False:\n",
        _READY + "test_a_server_that_forgets_what_it_has_written_is_named",
    ),
    Mutant(
        "a worker says at its start what is missing",
        "service_roles/ownership.py",
        '            print(f"{who}: not ready: {name}: {words}", file=sys.stderr)\n',
        "            pass\n",
        _READY + "test_a_worker_says_at_its_start_what_is_missing",
    ),
)
