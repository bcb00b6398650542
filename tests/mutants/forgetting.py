"""Mutants of what is done where a database has come back older than it was."""

from __future__ import annotations

from .mutant import Mutant

_FORGET = "eager/recovery/test_databases_that_forget.py::"
_ASK = "engine/src/atomic_commit/coordinator/ask.py"
_ROWS = "engine/src/atomic_commit/journal/asking.py"
_LIVES = "engine/src/atomic_commit/postgres/lives.py"

FORGETTING = (
    Mutant(
        "nothing is decided while participants are asked",
        "engine/src/atomic_commit/journal/records.py",
        "table.c.waits_until.is_(None), table.c.asking_since.is_(None))",
        "table.c.waits_until.is_(None))",
        _FORGET + "test_nothing_is_decided_before_the_participants_have_testified",
    ),
    Mutant(
        "who is asked about goes into no attempt",
        "engine/src/atomic_commit/journal/forming.py",
        "        table.c.asking_since.is_(None),\n",
        "",
        _FORGET + "test_who_is_asked_about_goes_into_no_attempt",
    ),
    Mutant(
        "all participants testify",
        _ASK,
        "        if heard.keys() < _services(kind):\n            return\n",
        "",
        _FORGET + "test_a_participant_that_is_away_is_waited_for",
    ),
    Mutant(
        "what is undecided after a fork is asked about",
        _LIVES,
        "        for statement in self._forgotten:\n            cursor.execute(statement)\n",
        "",
        _FORGET + "test_results_of_the_life_before_are_no_votes",
    ),
    Mutant(
        "the number of an attempt is never given twice",
        _ROWS,
        "attempt=transactions_table.c.attempt + JUMP,",
        "attempt=transactions_table.c.attempt + 1,",
        _FORGET + "test_the_number_of_an_attempt_is_not_given_twice",
    ),
    Mutant(
        "a branch that is done proves the decision",
        _ASK,
        "    return proofs[0] if proofs else None",
        "    return None",
        _FORGET + "test_a_decision_that_was_forgotten_is_found_at_the_participants",
    ),
    Mutant(
        "what is proven is committed everywhere first",
        _ASK,
        'elif prepared := proof.those("prepared"):',
        "elif prepared := list[str]():",
        _FORGET + "test_values_that_only_a_participant_knows_are_asked_for",
    ),
    Mutant(
        "what was rolled back elsewhere is not rolled forward",
        _ASK,
        'elif proof.those("tombstone"):',
        "elif False:",
        _FORGET + "test_what_was_committed_here_and_rolled_back_there_is_quarantined_with_what_each_has_done",
    ),
    Mutant(
        "a proof is of this transaction, and not of who went with it",
        _ASK,
        " or not _is_left_out(transaction, proof, found)]",
        " or proof]",
        _FORGET + "test_who_was_left_out_of_what_it_led_goes_again",
    ),
    Mutant(
        "attempts that others led are testified",
        "engine/src/atomic_commit/participant/testimony.py",
        "created_at >= :since AND members ?",
        "created_at >= 'infinity' AND CAST(:since AS text) <> '' AND members ?",
        _FORGET + "test_who_went_with_another_is_found_by_the_other_s_attempt",
    ),
    Mutant(
        "what a branch has returned is kept beside what is done",
        "engine/src/atomic_commit/participant/prepared.py",
        "_prepare_transaction(session, gid, None if kept == given else kept)",
        "_prepare_transaction(session, gid, None)",
        _FORGET + "test_values_that_only_a_participant_knows_are_asked_for",
    ),
    Mutant(
        "the attempt of the life before is rolled back",
        _ASK,
        "            asking.abandon(session, leader, number, _outcome(kind, leader, number, found))",
        "            pass",
        _FORGET + "test_without_a_proof_it_goes_again_under_a_number_that_was_never_used",
    ),
    Mutant(
        "a rollback that is answered by committed is a proof",
        "engine/src/atomic_commit/coordinator/coordinator.py",
        "asked = asking.ask_about_attempt(session, leader, number) if committed else set()",
        "asked = set[UUID]()",
        _FORGET + "test_a_proof_is_found_also_where_the_life_before_is_not_known_to_be_over",
    ),
    Mutant(
        "settled is not for ever: who asks is told again",
        _ASK,
        "            self._tell([gid], branch.outcome)\n",
        "            pass\n",
        _FORGET + "test_a_branch_of_what_is_settled_is_settled_again",
    ),
    Mutant(
        "what is undecided is not asked to be rolled back",
        _ASK,
        "        elif under_way:",
        "        elif False:",
        _FORGET + "test_who_is_undecided_is_left_alone",
    ),
    Mutant(
        "an unknown attempt of which a branch is done is committed",
        _ASK,
        'outcome = Outcome.COMMIT if "done" in states.values() else Outcome.ROLLBACK',
        "outcome = Outcome.ROLLBACK",
        _FORGET + "test_a_branch_that_nobody_knows_is_committed_where_another_one_is_done",
    ),
    Mutant(
        "an unknown attempt of which no branch is done is rolled back",
        _ASK,
        'outcome = Outcome.COMMIT if "done" in states.values() else Outcome.ROLLBACK',
        "outcome = Outcome.COMMIT",
        _FORGET + "test_a_branch_that_nobody_knows_is_rolled_back",
    ),
    Mutant(
        "a journal that does not reach back judges nothing",
        _ROWS,
        "    return seconds < kept and",
        "    return",
        _FORGET + "test_a_branch_that_is_older_than_the_journal_is_left_to_a_person",
    ),
    Mutant(
        "a database that is new judges nothing that is older",
        _ROWS,
        "seconds < kept and bool(session.scalar(select(made < in_seconds(-seconds))))",
        "seconds < kept",
        _FORGET + "test_a_branch_that_is_older_than_the_journal_is_left_to_a_person",
    ),
    Mutant(
        "a branch asks less and less often",
        "engine/src/atomic_commit/participant/inquiry.py",
        "now + pause, min(2 * pause, _LONGEST_PAUSE)",
        "now + pause, pause",
        _FORGET + "test_the_same_branch_asks_less_and_less_often",
    ),
    Mutant(
        "each new connection is compared with the life that is known",
        _LIVES,
        "        if differs:",
        "        if False:",
        _FORGET + "test_an_id_that_was_forgotten_is_not_given_again",
    ),
    Mutant(
        "ids that may have been given away are skipped",
        _LIVES,
        "        self._skip_ids(cursor, (now - since).total_seconds())\n",
        "",
        _FORGET + "test_an_id_that_was_forgotten_is_not_given_again",
    ),
    Mutant(
        "more ids are skipped the longer was forgotten",
        _LIVES,
        "self._ids_per_second * (1 + max(0, round(seconds)))",
        "self._ids_per_second",
        _FORGET + "test_ids_are_skipped_by_how_much_may_have_been_forgotten",
    ),
    Mutant(
        "one connection takes over",
        _LIVES,
        "        if life == present and not known:\n            return  # another connection was first\n",
        "",
        _FORGET + "test_one_connection_takes_over_and_the_others_find_it_done",
    ),
    Mutant(
        "the first life is no fork",
        _LIVES,
        "        if life is None:\n            return  # the first that it ever saw\n",
        "",
        _FORGET + "test_the_first_life_that_is_seen_is_written_down_and_no_fork",
    ),
    Mutant(
        "a log that ends before where it was",
        _LIVES,
        "row.log_end < end",
        "False",
        _FORGET + "test_a_log_that_ends_before_where_it_was_is_a_fork_as_well",
    ),
    Mutant(
        "a life is compared also where connections outlive their server",
        _LIVES,
        "            if _differs(cursor):",
        "            if False:",
        _FORGET + "test_a_connection_that_outlives_its_server_is_noticed_all_the_same",
    ),
    Mutant(
        "when the life goes on is written down",
        _LIVES,
        '"UPDATE database_identity SET seen_at = clock_timestamp()"\n    " RETURNING',
        '"UPDATE database_identity SET seen_at = seen_at"\n    " RETURNING',
        _FORGET + "test_a_fork_is_known_by_when_the_life_before_was_last_seen",
    ),
)
