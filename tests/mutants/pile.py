"""Mutants of what keeps messages from piling up, and wakes whoever is told seldom."""

from __future__ import annotations

from .mutant import Mutant

_AWAY = "eager/recovery/test_participant_away.py::"

PILE = (
    Mutant(
        "a participant that is away is told seldom",
        "engine/src/atomic_commit/journal/recovering.py",
        "        (only_owes, sa.case(dict(enumerate(owed_pauses)), value=looks, else_=owed_pauses[-1])),\n",
        "        (sa.false(), 1.0),\n",
        _AWAY + "test_a_participant_that_is_away_for_an_hour_finds_few_messages",
    ),
    Mutant(
        "a participant of an attempt that was given up is told seldom",
        "engine/src/atomic_commit/journal/recovering.py",
        "sa.or_(table.c.state != State.PREPARING, table.c.waits_until.is_not(None))",
        "table.c.state != State.PREPARING",
        _AWAY + "test_an_attempt_that_was_given_up_is_told_as_seldom",
    ),
    Mutant(
        "a participant that is back is told at once",
        "engine/src/atomic_commit/engine.py",
        "                self.coordinator.participant_is_back(service)\n",
        "                pass\n",
        _AWAY + "test_who_is_back_is_told_at_once_whatever_was_lost_meanwhile",
    ),
    Mutant(
        "a participant says that it is back",
        "engine/src/atomic_commit/coordinator/recover.py",
        "                if fresh or self._troubled:\n",
        "                if fresh:\n",
        _AWAY + "test_an_outcome_worker_says_that_it_is_there_when_it_starts_and_when_its_database_is_back",
    ),
    Mutant(
        "a look that told nobody anything does not count",
        "engine/src/atomic_commit/journal/recovering.py",
        "looks=func.greatest(table.c.looks - 1, 0)",
        "looks=table.c.looks",
        _AWAY + "test_while_the_broker_is_away_looks_do_not_count",
    ),
    Mutant(
        "those that were claimed and not looked at are due again",
        "engine/src/atomic_commit/coordinator/recover.py",
        "                    self._put_back([id for id, _ in claimed if id not in looked])\n",
        "                    self._put_back([transaction])\n",
        _AWAY + "test_those_that_were_claimed_beside_one_that_could_not_be_sent_are_due_again",
    ),
    Mutant(
        "results are gone soon after the deadline",
        "engine/src/atomic_commit/workers/settings.py",
        '            "result_expires": limits.deadline + KEPT_AFTER_DEADLINE,\n',
        '            "result_expires": 24 * 3600,\n',
        "broker/operating/test_bounds.py::test_every_result_is_gone_soon_after_the_deadline_of_its_transaction[redis]",
    ),
    Mutant(
        "what the processes say does not fill the disk",
        "local_servers/output.py",
        "            if self._file.tell() > self._largest:\n",
        "            if False:\n",
        "unit/local_servers/test_local_servers_output.py::test_the_files_of_a_process_that_never_stops_talking_stay_small",
    ),
)
