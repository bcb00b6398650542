"""Mutants of what bears with trouble: locks, broken connections, silence, recovery, servers that hang."""

from __future__ import annotations

from .mutant import Mutant

_MESSAGES = "eager/messages/test_messages_and_votes.py::"
_WIRE = "eager/recovery/test_broken_connections.py::"
_RESOLVING = "eager/protocol/test_resolving_prepared.py::"
_ROW_ORDER = "eager/protocol/test_lock_order.py::test_a_branch_locks_its_rows_in_primary_key_order_however_they_lie"
_RECOVERY = "eager/recovery/test_recovery.py::"
_BROKEN = "eager/recovery/test_broken_connections.py::"
_REFUSALS = "eager/protocol/test_refusals.py::"
_VOTES = "unit/protocol/test_votes.py"

TROUBLE = (
    # ---- clients
    Mutant(
        "a client is not held by a participant that does not answer",
        "engine/src/atomic_commit/coordinator/wait.py",
        "if record.over or waiter.has_waited():",
        "if record.over:",
        "eager/protocol/test_answers_and_ages.py::test_a_client_of_a_committed_transaction_waits_a_moment_for_its_participants_and_no_longer",
    ),
    Mutant(
        "a client is held until it can read its own writes",
        "engine/src/atomic_commit/coordinator/wait.py",
        "if record.over or waiter.has_waited():",
        "if True:",
        "eager/protocol/test_answers_and_ages.py::test_a_client_of_a_committed_transaction_waits_a_moment_for_its_participants_and_no_longer",
    ),
    Mutant(
        "a client is told when it is over: settled",
        "engine/src/atomic_commit/journal/settling.py",
        "    .returning(table.c.state, table.c.kind, NOTICE)",
        "    .returning(table.c.state, table.c.kind)",
        "eager/messages/test_notices.py::test_a_client_is_told_when_the_last_participant_has_answered",
    ),
    Mutant(
        "a client is told when it is over: aborted",
        "engine/src/atomic_commit/coordinator/members.py",
        "                    journal.tell_who_waits(session)\n",
        "                    pass\n",
        "eager/messages/test_notices.py::test_a_client_is_told_when_it_is_aborted",
    ),
    Mutant(
        "after a statement by itself a connection begins transactions again",
        "engine/src/atomic_commit/postgres/database.py",
        "        connection.autocommit = False\n\n\ndef run",
        "        pass\n\n\ndef run",
        _BROKEN + "test_statements_by_themselves_and_transactions_take_turns_on_one_connection",
    ),
    Mutant(
        "isolation: others' commits are seen",
        "engine/src/atomic_commit/postgres/database.py",
        '        "default_transaction_isolation": "read\\\\ committed",\n',
        "",
        _BROKEN + "test_others_commits_are_seen_whatever_the_database_says_by_default",
    ),
    Mutant(
        "a connection that the server has ended is not taken for alive",
        "engine/src/atomic_commit/postgres/database.py",
        " and not _has_word(connection)",
        "",
        _BROKEN + "test_a_connection_that_was_used_a_moment_ago_and_ended_since_is_replaced",
    ),
    # ---- locks
    Mutant(
        "starvation: outcomes have a queue and a worker of their own",
        "engine/src/atomic_commit/names.py",
        '        return f"{self}.{service}.outcome"',
        '        return f"{self}.{service}"',
        "broker/concurrency/test_starvation.py::test_branches_that_wait_for_a_lock_in_every_slot_do_not_keep_out_the_outcome_that_frees_it[redis]",
    ),
    Mutant(
        "lock order of rows: products",
        "products_service/stock.py",
        "    .order_by(_table.c.id)\n",
        "",
        _ROW_ORDER,
    ),
    Mutant(
        "lock order of rows: orders",
        "orders_service/branches.py",
        "    .order_by(_orders.c.id)\n",
        "",
        _ROW_ORDER,
    ),
    Mutant(
        "lock order of rows: orders of several users",
        "orders_service/branches_batch.py",
        "    .order_by(_orders.c.id)\n",
        "",
        "eager/protocol/test_lock_order.py"
        "::test_a_branch_that_several_share_locks_the_rows_of_all_in_primary_key_order",
    ),
    Mutant(
        "lock order of branches",
        "orders_service/place_order.py",
        "branches=(USERS_HOLD_ACTIVE_USER, PRODUCTS_TAKE_STOCK",
        "branches=(PRODUCTS_TAKE_STOCK, USERS_HOLD_ACTIVE_USER",
        "unit/protocol/test_branch_names.py::test_branches_come_in_the_one_global_lock_order",
    ),
    Mutant(
        "a lock that is not to be had is a conflict, tried again",
        "engine/src/atomic_commit/errors.py",
        '_CONFLICTS = ("40001", "40P01", "55P03",',
        '_CONFLICTS = ("40001", "40P01",',
        _REFUSALS + "test_an_order_that_meets_a_locked_product_is_accepted_and_placed_when_the_lock_is_gone",
    ),
    Mutant(
        "begin meets a locked row: it waits for lock_timeout",
        "engine/src/atomic_commit/postgres/database.py",
        '        "lock_timeout": _milliseconds(limits.lock_timeout),\n',
        "",
        _REFUSALS + "test_a_begin_that_meets_a_locked_row_waits_for_lock_timeout_and_says_so",
    ),
    Mutant(
        "begin meets a locked row: the client is told when to come back",
        "http_api/problems.py",
        '            self.headers.setdefault("Retry-After", str(self.type.retry_after))',
        "            pass",
        _REFUSALS + "test_a_locked_user_is_waited_for_a_moment_and_then_the_client_is_asked_to_come_back",
    ),
    # ---- resolving prepared transactions
    Mutant(
        "a branch that prepares while it is rolled back: the second round",
        "engine/src/atomic_commit/participant/prepared.py",
        "        for last_round in (False, True):",
        "        for last_round in (True,):",
        _RESOLVING + "test_a_branch_that_prepares_while_it_is_rolled_back_is_rolled_back_all_the_same",
    ),
    Mutant(
        "busy is not gone: another session is at it",
        "engine/src/atomic_commit/participant/prepared.py",
        "            raise Conflict(str(error.orig).strip()) from error",
        "            return",
        _RESOLVING + "test_a_transaction_that_another_session_is_resolving_is_a_conflict_and_asked_again",
    ),
    Mutant(
        "only gids of the current database",
        "engine/src/atomic_commit/participant/prepared.py",
        " AND database = current_database()",
        "",
        _RESOLVING + "test_a_transaction_of_the_same_name_in_another_database_is_not_rolled_back",
    ),
    Mutant(
        "a lost connection is no answer: COMMIT PREPARED",
        "engine/src/atomic_commit/participant/prepared.py",
        "            self._unless_gone(error)\n            answer = self._answer_without_prepared(gid, Answer.COMMITTED",
        "            self._unless_gone(error)\n"
        "        except Exception:\n"
        "            return Answer.COMMITTED\n"
        "        if False:\n"
        "            answer = self._answer_without_prepared(gid, Answer.COMMITTED",
        _WIRE + "test_a_commit_whose_connection_breaks_is_unknown_until_it_is_asked_again",
    ),
    Mutant(
        "a lost connection is no answer: ROLLBACK PREPARED",
        "engine/src/atomic_commit/participant/prepared.py",
        "                self._rollback_prepared(gid)\n",
        "                try:\n"
        "                    self._rollback_prepared(gid)\n"
        "                except Exception:\n"
        "                    return Answer.ROLLED_BACK\n",
        _WIRE + "test_a_rollback_whose_connection_breaks_is_unknown_until_it_is_asked_again",
    ),
    Mutant(
        "a lost connection is told from an error of the statement",
        "engine/src/atomic_commit/errors.py",
        "        return error.connection_invalidated or isinstance(error, OperationalError | InterfaceError)",
        "        return False",
        _WIRE + "test_a_branch_whose_connection_breaks_while_it_prepares_is_rolled_back_whether_it_is_prepared_or_not",
    ),
    # ---- recovery
    Mutant(
        "silence is ended: a message that was popped and lost (Redis pops before it records; FLUSHALL)",
        "engine/src/atomic_commit/votes.py",
        "    return again if situation.patience_over else Decision.WAIT",
        "    return Decision.WAIT",
        _MESSAGES + "test_a_transaction_whose_every_message_was_lost_is_finished_by_recovery",
    ),
    Mutant(
        "routed by queue alone: no binding is lost with a FLUSHALL",
        "engine/src/atomic_commit/workers/queues.py",
        'type="direct"',
        'type="topic"',
        "broker/messages/test_lost_messages.py::test_requests_in_a_row_with_everything_lost_between_them_are_all_done[redis]",
    ),
    Mutant(
        "an undecided transaction is looked at again",
        "engine/src/atomic_commit/coordinator/coordinator.py",
        "        self.decide(attempt.leader, attempt.number)\n        return True",
        "        return True",
        _MESSAGES + "test_a_chain_that_ended_before_its_last_link_is_decided_by_its_results",
    ),
    Mutant(
        "votes are taken from what the chain handed on, too",
        "engine/src/atomic_commit/wire/messages.py",
        "[self._ballot_handed_on(branch, handed_on) or self._ballot(branch)",
        "[self._ballot(branch)",
        _MESSAGES + "test_a_result_that_is_not_stored_yet_is_not_needed_where_it_was_handed_on",
    ),
    Mutant(
        "patience that a clock moved back has lengthened is granted anew",
        "engine/src/atomic_commit/coordinator/coordinator.py",
        "if unwatched or self.attempts.clock_was_moved_back(attempt):",
        "if unwatched:",
        "eager/recovery/test_clock_moved_back.py::test_an_attempt_is_granted_its_patience_from_now_on_and_not_an_hour_more",
    ),
    Mutant(
        "a pause that a clock moved back has lengthened is over",
        "engine/src/atomic_commit/coordinator/coordinator.py",
        "                journal.bring_forward(session, kinds, self._farthest)\n",
        "                pass\n",
        "eager/recovery/test_clock_moved_back.py::test_who_waits_for_another_attempt_goes_when_its_pause_seems_to_end_in_an_hour",
    ),
    Mutant(
        "a pause that a right clock has measured is kept",
        "engine/src/atomic_commit/journal/recovering.py",
        "table.c.waits_until > far)",
        "table.c.waits_until > NOW)",
        "eager/recovery/test_clock_moved_back.py::test_a_pause_that_a_right_clock_has_measured_is_left_as_it_is",
    ),
    Mutant(
        "a sweeper's start: everything is due",
        "engine/src/atomic_commit/coordinator/recover.py",
        "                if fresh:\n",
        "                if False:\n",
        _RECOVERY + "test_a_sweeper_that_starts_looks_at_everything_at_once_however_far_it_was_put_off",
    ),
    Mutant(
        "what is claimed is put off",
        "engine/src/atomic_commit/journal/recovering.py",
        "            next_look_at=sa.case((listening, func.least(put_off, table.c.patience_until)), else_=put_off),\n",
        "",
        _RECOVERY + "test_two_sweepers_never_hold_the_same_transaction",
    ),
    Mutant(
        "quarantine: what keeps failing is quarantined",
        "engine/src/atomic_commit/coordinator/recover.py",
        "        if failures >= self._limits.quarantine_after:",
        "        if False:",
        _RECOVERY + "test_one_poisoned_transaction_does_not_stop_the_others_and_is_quarantined_in_the_end",
    ),
    Mutant(
        "quarantine: what contradicts the decision is quarantined",
        "engine/src/atomic_commit/coordinator/coordinator.py",
        "        if answer is Answer.IMPOSSIBLE:",
        "        if False:",
        _RESOLVING + "test_a_commit_of_a_branch_that_is_not_there_is_quarantined_loudly",
    ),
    Mutant(
        "a business refusal is final",
        "engine/src/atomic_commit/votes.py",
        "    if any(ballot.cause in FINAL for ballot in noes):\n        return Decision.ABORT\n",
        "",
        _VOTES,
    ),
    Mutant(
        "the deadline ends what is tried again",
        "engine/src/atomic_commit/votes.py",
        "    again = Decision.ABORT if situation.deadline_over else Decision.RETRY",
        "    again = Decision.RETRY",
        _VOTES,
    ),
    Mutant(
        "an order for a user who is being removed is refused",
        "users_service/branches.py",
        '_is_wanted, _table.c.status == "active")',
        "_is_wanted)",
        _REFUSALS + "test_a_user_who_is_being_removed_cannot_order",
    ),
    # ---- servers that hang
    Mutant(
        "a broker that hangs: its sockets have a time limit",
        "engine/src/atomic_commit/workers/settings.py",
        '        "socket_timeout": 2.0,\n',
        "",
        "broker/recovery/test_outages.py::test_what_is_asked_while_the_broker_hangs_is_accepted_in_bounded_time[redis]",
    ),
    Mutant(
        "a kind that does not follow the lock order does not start",
        "engine/src/atomic_commit/engine.py",
        "            check_lock_order(kinds, lock_order)\n",
        "            pass\n",
        "unit/protocol/test_branch_names.py::test_a_kind_that_does_not_follow_the_lock_order_does_not_start",
    ),
)
