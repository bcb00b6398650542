"""Mutants of the protocol's steps: begin, prepare, decide, outcome, and the rows that they leave."""

from __future__ import annotations

from .mutant import Mutant

_MESSAGES = "eager/messages/test_messages_and_votes.py::"
_FENCE = "eager/protocol/test_fence_and_duplicates.py::"
_DECISION = "eager/protocol/test_one_decision.py::"
_CARELESS = "eager/protocol/test_careless_branches.py::"
_AGES = "eager/protocol/test_answers_and_ages.py::"
_STEPS = "eager/protocol/test_protocol_steps.py::"
_RESOLVING = "eager/protocol/test_resolving_prepared.py::"
_RECOVERY = "eager/recovery/test_recovery.py::"

STEPS = (
    Mutant(
        "the fence: a tombstone in the branch row's place",
        "engine/src/atomic_commit/participant/prepared.py",
        "answer = self._answer_without_prepared(gid, Answer.ROLLED_BACK, self._fence(gid))",
        "return Answer.ROLLED_BACK",
        _FENCE + "test_a_prepare_that_comes_after_the_abort_hits_the_fence",
    ),
    Mutant(
        "rolling back before fencing",
        "engine/src/atomic_commit/participant/prepared.py",
        "                self._rollback_prepared(gid)\n                reach",
        "                reach",
        _MESSAGES + "test_a_branch_that_prepared_and_then_failed_is_rolled_back_like_the_others",
    ),
    Mutant(
        "every no rolls back every branch",
        "engine/src/atomic_commit/journal/deciding.py",
        '" WHERE transaction_id = :leader AND attempt = :attempt"\n)\n',
        '" WHERE transaction_id = :leader AND attempt = :attempt AND name = ANY (SELECT ballot.name FROM "\n'
        "    \"unnest(CAST(:names AS text[]), CAST(:votes AS text[])) AS ballot (name, vote) WHERE ballot.vote = 'yes')\"\n"
        ")\n",
        _MESSAGES + "test_it_is_rolled_back_also_where_nobody_hears_of_the_decision_at_first",
    ),
    Mutant(
        "one decision: the update is conditional on the state",
        "engine/src/atomic_commit/journal/records.py",
        "    undecided = (table.c.state == State.PREPARING, table.c.waits_until",
        "    undecided = (table.c.waits_until",
        _DECISION + "test_recovery_that_comes_after_the_coordinator_has_committed_aborts_nothing",
    ),
    Mutant(
        "one decision: the update is conditional on the attempt",
        "engine/src/atomic_commit/journal/records.py",
        "table.c.leader.is_(None), table.c.attempt == number)",
        "table.c.leader.is_(None))",
        _DECISION + "test_outcome_messages_of_the_first_attempt_do_not_touch_the_second",
    ),
    Mutant(
        "the command tag of PREPARE TRANSACTION is checked",
        "engine/src/atomic_commit/participant/prepared.py",
        'if cursor.statusmessage != "PREPARE TRANSACTION":',
        "if False:",
        _CARELESS + "test_a_branch_that_hides_a_database_error_is_not_taken_for_prepared",
    ),
    Mutant(
        "a yes needs proof",
        "engine/src/atomic_commit/votes.py",
        "isinstance(result, dict) and (database := _proof(result, gid)):",
        'isinstance(result, dict) and (database := _proof(result, gid) or "") is not None:',
        _MESSAGES + "test_a_success_without_the_proof_is_silence_and_commits_nothing",
    ),
    Mutant(
        "the proof is of this attempt",
        "engine/src/atomic_commit/votes.py",
        "prepared.get(str(gid)) if isinstance(prepared, dict) else None",
        "next((prepared[text] for text in prepared if gid.branch in text), None) if isinstance(prepared, dict) else None",
        _MESSAGES + "test_the_proof_of_an_earlier_attempt_is_no_proof",
    ),
    Mutant(
        "a new identifier for each attempt",
        "engine/src/atomic_commit/names.py",
        '        return f"{self.installation}:{self.kind}:{self.transaction}:{self.attempt}:{self.branch}"',
        '        return f"{self.installation}:{self.kind}:{self.transaction}:1:{self.branch}"',
        _DECISION + "test_outcome_messages_of_the_first_attempt_do_not_touch_the_second",
    ),
    Mutant(
        "a new attempt waits until the old one is settled",
        "engine/src/atomic_commit/journal/forming.py",
        "    branches_table.c.transaction_id == table.c.id,\n",
        "",
        _DECISION + "test_a_new_attempt_waits_until_the_old_one_is_settled_and_its_locks_are_gone",
    ),
    Mutant(
        "the branch row comes first",
        "engine/src/atomic_commit/participant/prepared.py",
        "            try:\n                found = self._begin(session, gid, given)",
        '            session.execute(text("BEGIN"))\n'
        "            run_members(session, branch, members)\n"
        "            session.flush()\n"
        "            try:\n                found = self._begin(session, gid, given)",
        _FENCE + "test_a_prepare_delivered_twice_hands_on_the_first_result_and_runs_once",
    ),
    Mutant(
        "a duplicate hands on the first result",
        "engine/src/atomic_commit/participant/prepared.py",
        "        if earlier := self._earlier_result(gid):",
        "        if False and (earlier := self._earlier_result(gid)):",
        _FENCE + "test_a_prepare_delivered_twice_hands_on_the_first_result_and_runs_once",
    ),
    Mutant(
        "the stored result of a duplicate is believed only with its proof",
        "engine/src/atomic_commit/participant/prepared.py",
        '        raise Conflict(f"{gid} was begun before and its result is not known") from error',
        '        return {"prepared": {str(gid): ""}, "values": {"quantities": [], "prices": []}}',
        _FENCE + "test_a_prepare_delivered_twice_whose_first_result_was_lost_votes_no_and_a_new_attempt_commits",
    ),
    Mutant(
        '"does not exist" on commit is looked into',
        "engine/src/atomic_commit/participant/prepared.py",
        "            answer = self._answer_without_prepared(gid, Answer.COMMITTED, self._branch_row(gid))\n",
        "            answer = Answer.COMMITTED\n",
        _RESOLVING + "test_a_commit_of_a_branch_that_is_not_there_is_quarantined_loudly",
    ),
    Mutant(
        '"already done" on commit is success',
        "engine/src/atomic_commit/participant/prepared.py",
        "        if found is wanted:\n            return wanted\n",
        "",
        _RESOLVING + "test_a_commit_repeated_is_a_commit",
    ),
    Mutant(
        "an order that is being cancelled is a conflict, never skipped",
        "orders_service/branches.py",
        '            raise Conflict(f"order {order.id} is being cancelled")',
        "            continue",
        _STEPS + "test_a_removal_that_meets_an_order_being_cancelled_tries_again_and_commits",
    ),
    Mutant(
        "the user is held until the order's outcome",
        "users_service/branches.py",
        ".with_for_update(read=True)",
        "",
        _STEPS + "test_a_user_whose_order_is_being_placed_cannot_be_removed_before_it_is_decided",
    ),
    Mutant(
        "a poisoned transaction is handled alone",
        "engine/src/atomic_commit/coordinator/recover.py",
        '        except Exception as error:\n            log.exception("transaction %s can\'t be recovered for now"',
        '        except ZeroDivisionError as error:\n            log.exception("transaction %s can\'t be recovered for now"',
        _RECOVERY + "test_one_poisoned_transaction_does_not_stop_the_others_and_is_quarantined_in_the_end",
    ),
    Mutant(
        "two sweepers: SKIP LOCKED",
        "engine/src/atomic_commit/journal/recovering.py",
        ".with_for_update(skip_locked=True)\n        .cte",
        ".with_for_update()\n        .cte",
        _RECOVERY + "test_two_sweepers_never_hold_the_same_transaction",
    ),
    Mutant(
        "outcomes are sent again until they are answered",
        "engine/src/atomic_commit/coordinator/coordinator.py",
        "            return self._messages.send_outcomes(record.owed_branches, record.read_at)\n        with Session",
        "        with Session",
        _MESSAGES + "test_a_decision_whose_outcome_messages_were_lost_is_told_again",
    ),
    Mutant(
        "recovery sends what was never published",
        "engine/src/atomic_commit/coordinator/coordinator.py",
        "            return self.attempts.send_again(attempt)\n",
        "            return True\n",
        "eager/concurrency/test_shared_attempts.py::test_who_is_in_an_attempt_of_which_nothing_was_sent_goes_with_the_same_ones_later",
    ),
    Mutant(
        "silence while nobody listened is not held against the branches",
        "engine/src/atomic_commit/coordinator/coordinator.py",
        "        if unwatched or self",
        "        if self",
        _DECISION + "test_silence_while_nobody_was_there_to_listen_is_not_held_against_the_branches",
    ),
    Mutant(
        "the idempotency key is stored with the transaction",
        "engine/src/atomic_commit/journal/accepting.py",
        '            "idempotency_key": key.key if key else None,',
        '            "idempotency_key": None,',
        "eager/http_api/test_said_twice.py::test_a_repeated_request_is_done_once_and_answered_alike",
    ),
    Mutant(
        "a branch that rolls back by itself is refused",
        "engine/src/atomic_commit/participant/own_transaction.py",
        'listen(session, "after_soft_rollback", _refuse_to_go_on)',
        "pass",
        _CARELESS + "test_a_branch_that_rolls_back_by_itself_is_not_taken_for_prepared",
    ),
    Mutant(
        "a begin without an answer is resolved by taking its place",
        "engine/src/atomic_commit/coordinator/lost_begin.py",
        "taken = journal.take_place(session, transaction, kind)",
        "return True",
        _AGES + "test_a_begin_whose_connection_breaks_before_its_commit_is_known_not_to_have_happened",
    ),
    Mutant(
        "a begin that happened is not denied",
        "engine/src/atomic_commit/coordinator/lost_begin.py",
        "taken = journal.take_place(session, transaction, kind)",
        "return False",
        _AGES + "test_a_begin_that_was_committed_goes_on_though_its_answer_was_lost",
    ),
    Mutant(
        "a begin without an answer is asked about again while the database is away",
        "engine/src/atomic_commit/coordinator/lost_begin.py",
        "            if time.monotonic() >= end:\n",
        "            if True:\n",
        _AGES + "test_a_begin_whose_database_is_back_in_time_is_resolved_before_its_client_is_answered",
    ),
    Mutant(
        "a begin without an answer is asked about again where a lock is in the way",
        "engine/src/atomic_commit/coordinator/lost_begin.py",
        "        except Exception as again:",
        "        except Lost as again:",
        _AGES + "test_a_begin_is_not_denied_because_its_place_could_not_be_taken_at_once",
    ),
    Mutant(
        "who took a begin's place is not taken for the begin",
        "engine/src/atomic_commit/journal/accepting.py",
        "return bool(taken) or session.scalar",
        "return bool(taken) or None and session.scalar",
        _AGES + "test_a_begin_whose_database_is_back_in_time_is_resolved_before_its_client_is_answered",
    ),
    Mutant(
        "of two answers at once one is the last",
        "engine/src/atomic_commit/journal/settling.py",
        'WHERE id = :leader FOR UPDATE)"',
        'WHERE id = :leader)"',
        _AGES + "test_of_two_answers_at_the_same_moment_one_is_the_last_and_settles",
    ),
    Mutant(
        "a publisher that was overtaken sends nothing",
        "engine/src/atomic_commit/coordinator/attempts.py",
        "        return self.send(attempt) if claimed else True",
        "        return self.send(attempt)",
        _AGES + "test_a_publisher_whose_attempt_was_given_up_meanwhile_sends_nothing_and_alarms_nobody",
    ),
    Mutant(
        "branch rows outlive every message",
        "engine/src/atomic_commit/limits.py",
        "        if self.keep_branch_rows < 2 * (self.keep_transactions + self.deadline):",
        "        if False:",
        "unit/operating/test_limits.py::test_branch_rows_that_could_go_before_the_last_message_are_refused",
    ),
    Mutant(
        "a message carries its end",
        "engine/src/atomic_commit/wire/messages.py",
        "            queue=self._installation.branch_queue(participant),\n            expires=self._end(read_at),\n",
        "            queue=self._installation.branch_queue(participant),\n",
        "eager/operating/test_retention.py::test_a_tombstone_outlives_every_message_that_could_bring_a_late_prepare",
    ),
    Mutant(
        "what is not settled is never removed",
        "engine/src/atomic_commit/journal/retention.py",
        '" AND settled_at < now() - make_interval(secs => :age)"',
        '""',
        "eager/operating/test_retention.py::test_what_is_not_settled_is_kept_with_its_branches_however_old_it_is",
    ),
)
