"""The mutants: which lines are taken out, and the test that must fail then.

Not here, because nothing can go wrong without them, only slower; the rows and the sweep do the same work later:

- late acknowledgement, retry after a lost worker, the visibility timeout and its keys for each service, prefetch 1: a
  message that is lost all the same (Redis pops before it records) is silence, and silence is ended by recovery;
- the error callback ``review``, RabbitMQ's quorum queues and publisher confirms: they spare a wait for recovery;
- in the participant, asking whether a branch is prepared before it is rolled back: it spares lines in the server's log.

For speed as well, but here because a test can tell: the second round of a rollback, and that everything is due at a
sweeper's start (else it is looked at when its pause is over, seconds later unless the clock was put back).

Not here either, because there is no line to take out: gids of others. Every gid that is resolved was read in the
journal; nothing looks through the prepared transactions for some.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    """`old`, which must stand exactly once in `file`, becomes `new`; then `test` (below tests/) must fail."""

    protection: str
    file: str
    old: str
    new: str
    test: str


_MESSAGES = "eager/test_messages_and_votes.py::"
_FENCE = "eager/test_fence_and_duplicates.py::"
_DECISION = "eager/test_one_decision.py::"
_CARELESS = "eager/test_careless_branches.py::"
_AGES = "eager/test_answers_and_ages.py::"
_STEPS = "eager/test_protocol_steps.py::"
_WIRE = "eager/test_broken_connections.py::"
_RESOLVING = "eager/test_resolving_prepared.py::"
_ROW_ORDER = "eager/test_lock_order.py::test_a_branch_locks_its_rows_in_primary_key_order_however_they_lie"
_RECOVERY = "eager/test_recovery.py::"
_REFUSALS = "eager/test_refusals.py::"
_VOTES = "unit/test_votes.py"

MUTANTS = (
    Mutant(
        "the fence: a tombstone in the branch row's place",
        "atomic_commit/participant.py",
        "return self._answer_without_prepared(gid, Answer.ROLLED_BACK, self._fence(gid))",
        "return Answer.ROLLED_BACK",
        _FENCE + "test_a_prepare_that_comes_after_the_abort_hits_the_fence",
    ),
    Mutant(
        "rolling back before fencing",
        "atomic_commit/participant.py",
        "                self._rollback_prepared(gid)\n                reach",
        "                reach",
        _MESSAGES + "test_a_branch_that_prepared_and_then_failed_is_rolled_back_like_the_others",
    ),
    Mutant(
        "every no rolls back every branch",
        "atomic_commit/journal.py",
        "    session.execute(update(branches_table).where(_attempt(transaction, attempt)).values(changes))",
        '    yes = [b.branch for b in ballots if b.vote == "yes"]\n'
        "    session.execute(\n"
        "        update(branches_table)\n"
        "        .where(_attempt(transaction, attempt), branches_table.c.name.in_(yes))\n"
        "        .values(changes)\n"
        "    )",
        _MESSAGES + "test_a_branch_that_prepared_and_then_failed_is_rolled_back_like_the_others",
    ),
    Mutant(
        "one decision: the update is conditional on the state",
        "atomic_commit/journal.py",
        "    return sa.and_(table.c.id == transaction, table.c.state == State.PREPARING, table.c.attempt == attempt)",
        "    return sa.and_(table.c.id == transaction, table.c.attempt == attempt)",
        _DECISION + "test_of_two_who_decide_at_the_same_moment_one_wins_everywhere",
    ),
    Mutant(
        "one decision: the update is conditional on the attempt",
        "atomic_commit/journal.py",
        "table.c.state == State.PREPARING, table.c.attempt == attempt)",
        "table.c.state == State.PREPARING)",
        _DECISION + "test_a_coordinator_that_comes_after_recovery_has_given_up_commits_nothing",
    ),
    Mutant(
        "the command tag of PREPARE TRANSACTION is checked",
        "atomic_commit/participant.py",
        'if cursor.statusmessage != "PREPARE TRANSACTION":',
        "if False:",
        _CARELESS + "test_a_branch_that_hides_a_database_error_is_not_taken_for_prepared",
    ),
    Mutant(
        "a yes needs proof",
        "atomic_commit/votes.py",
        'if status == "SUCCESS" and _proves(result, gid):',
        'if status == "SUCCESS":',
        _MESSAGES + "test_a_success_without_the_proof_is_silence_and_commits_nothing",
    ),
    Mutant(
        "the proof is of this attempt",
        "atomic_commit/votes.py",
        'str(gid) in list(result.get("prepared", ()))',
        'any(gid.branch in text for text in result.get("prepared", ()))',
        _MESSAGES + "test_the_proof_of_an_earlier_attempt_is_no_proof",
    ),
    Mutant(
        "a new identifier for each attempt",
        "atomic_commit/names.py",
        '        return f"{self.app}:{self.transaction}:{self.attempt}:{self.branch}"',
        '        return f"{self.app}:{self.transaction}:1:{self.branch}"',
        _DECISION + "test_outcome_messages_of_the_first_attempt_do_not_touch_the_second",
    ),
    Mutant(
        "a new attempt waits until the old one is settled",
        "atomic_commit/coordinator.py",
        "        if record.owed_branches:\n            return self._messages.send_outcomes(record)\n        if record.read_at",
        "        if record.read_at",
        _DECISION + "test_a_new_attempt_waits_until_the_old_one_is_settled_and_its_locks_are_gone",
    ),
    Mutant(
        "the branch row comes first",
        "atomic_commit/participant.py",
        "            try:\n                self._begin(session, gid)",
        '            session.execute(text("BEGIN"))\n'
        '            added = branch.call(session, handed_on["values"])\n'
        "            session.flush()\n"
        "            try:\n                self._begin(session, gid)",
        _FENCE + "test_a_prepare_delivered_twice_hands_on_the_first_result_and_runs_once",
    ),
    Mutant(
        "a duplicate hands on the first result",
        "atomic_commit/participant.py",
        "        if earlier := self._earlier_result(gid):",
        "        if False and (earlier := self._earlier_result(gid)):",
        _FENCE + "test_a_prepare_delivered_twice_hands_on_the_first_result_and_runs_once",
    ),
    Mutant(
        "the stored result of a duplicate is believed only with its proof",
        "atomic_commit/participant.py",
        '        raise Conflict(f"{gid} was begun before and its result is not known") from error',
        '        return {"prepared": [str(gid)], "values": {"quantities": [], "prices": []}}',
        _FENCE + "test_a_prepare_delivered_twice_whose_first_result_was_lost_votes_no_and_a_new_attempt_commits",
    ),
    Mutant(
        '"does not exist" on commit is looked into',
        "atomic_commit/participant.py",
        "            return self._answer_without_prepared(gid, Answer.COMMITTED, self._branch_row(gid))",
        "            return Answer.COMMITTED",
        _RESOLVING + "test_a_commit_of_a_branch_that_is_not_there_is_put_aside_loudly",
    ),
    Mutant(
        '"already done" on commit is success',
        "atomic_commit/participant.py",
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
        "atomic_commit/recovery.py",
        '        except Exception as error:\n            log.exception("transaction %s can\'t be recovered for now"',
        '        except ZeroDivisionError as error:\n            log.exception("transaction %s can\'t be recovered for now"',
        _RECOVERY + "test_one_poisoned_transaction_does_not_stop_the_others_and_is_put_aside_in_the_end",
    ),
    Mutant(
        "two sweepers: SKIP LOCKED",
        "atomic_commit/journal.py",
        ".with_for_update(skip_locked=True)",
        "",
        _RECOVERY + "test_two_sweepers_never_hold_the_same_transaction",
    ),
    Mutant(
        "outcomes are sent again until they are answered",
        "atomic_commit/coordinator.py",
        "        if record.owed_branches:\n            return self._messages.send_outcomes(record)\n        with Session",
        "        with Session",
        _MESSAGES + "test_a_decision_whose_outcome_messages_were_lost_is_told_again",
    ),
    Mutant(
        "recovery sends what was never published",
        "atomic_commit/coordinator.py",
        "        if not record.dispatched:\n            return self._next_attempt(record)\n        self.decide",
        "        self.decide",
        _MESSAGES + "test_a_transaction_whose_every_message_was_lost_is_finished_by_recovery",
    ),
    Mutant(
        "silence while nobody listened is not held against the branches",
        "atomic_commit/coordinator.py",
        "        if unwatched:",
        "        if False:",
        _DECISION + "test_silence_while_nobody_was_there_to_listen_is_not_held_against_the_branches",
    ),
    Mutant(
        "the idempotency key is stored with the transaction",
        "atomic_commit/journal.py",
        "            idempotency_key=key.key if key else None,",
        "            idempotency_key=None,",
        "eager/test_said_twice.py::test_a_repeated_request_is_done_once_and_answered_alike",
    ),
    Mutant(
        "a branch that rolls back by itself is refused",
        "atomic_commit/participant.py",
        'listen(session, "after_soft_rollback", _refuse_to_go_on)',
        "pass",
        _CARELESS + "test_a_branch_that_rolls_back_by_itself_is_not_taken_for_prepared",
    ),
    Mutant(
        "a begin without an answer is resolved by taking its place",
        "atomic_commit/coordinator.py",
        "                return not journal.take_place(session, transaction, kind.name)",
        "                return True",
        _AGES + "test_a_begin_whose_connection_breaks_before_its_commit_is_known_not_to_have_happened",
    ),
    Mutant(
        "a begin that happened is not denied",
        "atomic_commit/coordinator.py",
        "                return not journal.take_place(session, transaction, kind.name)",
        "                return False",
        _AGES + "test_a_begin_that_was_committed_goes_on_though_its_answer_was_lost",
    ),
    Mutant(
        "of two answers at once one is the last",
        "atomic_commit/journal.py",
        "    session.execute(select(table.c.id).where(table.c.id == transaction).with_for_update())\n",
        "",
        _AGES + "test_of_two_answers_at_the_same_moment_one_is_the_last_and_settles",
    ),
    Mutant(
        "a publisher that was overtaken sends nothing",
        "atomic_commit/coordinator.py",
        "        if ready.decided or ready.attempt != record.attempt:",
        "        if False:",
        _AGES + "test_a_publisher_whose_attempt_was_given_up_meanwhile_sends_nothing_and_alarms_nobody",
    ),
    Mutant(
        "branch rows outlive every message",
        "atomic_commit/limits.py",
        "        if self.keep_branch_rows < 2 * (self.keep_transactions + self.deadline):",
        "        if False:",
        "unit/test_limits.py::test_branch_rows_that_could_go_before_the_last_message_are_refused",
    ),
    Mutant(
        "a message carries its end",
        "atomic_commit/messages.py",
        "            queue=branch_queue(service_of(branch.name)),\n            expires=self._end(record),\n",
        "            queue=branch_queue(service_of(branch.name)),\n",
        "eager/test_retention.py::test_a_tombstone_outlives_every_message_that_could_bring_a_late_prepare",
    ),
    Mutant(
        "what is not settled is never removed",
        "atomic_commit/retention.py",
        '" AND settled_at < now() - make_interval(secs => :age)"',
        '""',
        "eager/test_retention.py::test_what_is_not_settled_is_kept_with_its_branches_however_old_it_is",
    ),
    # ---- locks
    Mutant(
        "starvation: outcomes have a queue and a worker of their own",
        "atomic_commit/names.py",
        '    return f"{service}.outcome"',
        "    return service",
        "broker/test_starvation.py::test_branches_that_wait_for_a_lock_in_every_slot_do_not_keep_out_the_outcome_that_frees_it[redis]",
    ),
    Mutant(
        "lock order of rows: products",
        "products_service/branches.py",
        ".order_by(Product.id).with_for_update()",
        ".with_for_update()",
        _ROW_ORDER,
    ),
    Mutant(
        "lock order of rows: orders",
        "orders_service/branches.py",
        "        .order_by(Order.id)\n",
        "",
        _ROW_ORDER,
    ),
    Mutant(
        "lock order of branches",
        "orders_service/place_order.py",
        "branches=(USERS_HOLD_ACTIVE_USER, PRODUCTS_TAKE_STOCK)",
        "branches=(PRODUCTS_TAKE_STOCK, USERS_HOLD_ACTIVE_USER)",
        "unit/test_branch_names.py::test_branches_come_in_the_one_global_lock_order",
    ),
    Mutant(
        "a lock that is not to be had is a conflict, tried again",
        "atomic_commit/errors.py",
        '_CONFLICTS = frozenset({"40001", "40P01", "55P03",',
        '_CONFLICTS = frozenset({"40001", "40P01",',
        _REFUSALS + "test_an_order_that_meets_a_locked_product_is_accepted_and_placed_when_the_lock_is_gone",
    ),
    Mutant(
        "begin meets a locked row: it waits for lock_timeout",
        "atomic_commit/database.py",
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
        "atomic_commit/participant.py",
        "        for last_round in (False, True):",
        "        for last_round in (True,):",
        _RESOLVING + "test_a_branch_that_prepares_while_it_is_rolled_back_is_rolled_back_all_the_same",
    ),
    Mutant(
        "busy is not gone: another session is at it",
        "atomic_commit/participant.py",
        "            raise Conflict(str(error.orig).strip()) from error",
        "            return",
        _RESOLVING + "test_a_transaction_that_another_session_is_resolving_is_a_conflict_and_asked_again",
    ),
    Mutant(
        "only gids of the current database",
        "atomic_commit/participant.py",
        " AND database = current_database()",
        "",
        _RESOLVING + "test_a_transaction_of_the_same_name_in_another_database_is_not_rolled_back",
    ),
    Mutant(
        "a lost connection is no answer: COMMIT PREPARED",
        "atomic_commit/participant.py",
        "            self._unless_gone(error)\n            return self._answer_without_prepared(gid, Answer.COMMITTED",
        "            self._unless_gone(error)\n"
        "        except Exception:\n"
        "            return Answer.COMMITTED\n"
        "        if False:\n"
        "            return self._answer_without_prepared(gid, Answer.COMMITTED",
        _WIRE + "test_a_commit_whose_connection_breaks_is_unknown_until_it_is_asked_again",
    ),
    Mutant(
        "a lost connection is no answer: ROLLBACK PREPARED",
        "atomic_commit/participant.py",
        "                self._rollback_prepared(gid)\n",
        "                try:\n"
        "                    self._rollback_prepared(gid)\n"
        "                except Exception:\n"
        "                    return Answer.ROLLED_BACK\n",
        _WIRE + "test_a_rollback_whose_connection_breaks_is_unknown_until_it_is_asked_again",
    ),
    Mutant(
        "a lost connection is told from an error of the statement",
        "atomic_commit/errors.py",
        "        return error.connection_invalidated or isinstance(error, OperationalError | InterfaceError)",
        "        return False",
        _WIRE + "test_a_branch_whose_connection_breaks_while_it_prepares_is_rolled_back_whether_it_is_prepared_or_not",
    ),
    # ---- recovery
    Mutant(
        "silence is ended: a message that was popped and lost (Redis pops before it records; FLUSHALL)",
        "atomic_commit/votes.py",
        "    return again if situation.patience_over else Decision.WAIT",
        "    return Decision.WAIT",
        _MESSAGES + "test_a_transaction_whose_every_message_was_lost_is_finished_by_recovery",
    ),
    Mutant(
        "routed by queue alone: no binding is lost with a FLUSHALL",
        "celery_config/queues.py",
        'type="direct"',
        'type="topic"',
        "broker/test_lost_messages.py::test_requests_in_a_row_with_everything_lost_between_them_are_all_done[redis]",
    ),
    Mutant(
        "an undecided transaction is looked at again",
        "atomic_commit/coordinator.py",
        "        self.decide(record.id, record.attempt)\n        return True",
        "        return True",
        _MESSAGES + "test_a_chain_that_ended_before_its_last_link_is_decided_by_its_results",
    ),
    Mutant(
        "votes are taken from what the chain handed on, too",
        "atomic_commit/coordinator.py",
        "self._messages.ballots_handed_on(record, handed_on) if handed_on else self._messages.ballots(record)",
        "self._messages.ballots(record)",
        _MESSAGES + "test_a_result_that_is_not_stored_yet_is_not_needed_where_it_was_handed_on",
    ),
    Mutant(
        "the claim to publish looks again whether an old branch owes its answer",
        "atomic_commit/journal.py",
        "~table.c.dispatched, ~sa.exists(owed))",
        "~table.c.dispatched)",
        _DECISION + "test_the_right_to_publish_a_new_attempt_cannot_be_claimed_while_an_old_branch_owes_its_answer",
    ),
    Mutant(
        "a sweeper's start: everything is due",
        "atomic_commit/recovery.py",
        "                if fresh:\n",
        "                if False:\n",
        _RECOVERY + "test_a_sweeper_that_starts_looks_at_everything_at_once_however_far_it_was_put_off",
    ),
    Mutant(
        "what is claimed is put off",
        "atomic_commit/journal.py",
        "            next_look_at=sa.case((listening, func.least(put_off, table.c.patience_until)), else_=put_off),\n",
        "",
        _RECOVERY + "test_two_sweepers_never_hold_the_same_transaction",
    ),
    Mutant(
        "quarantine: what keeps failing is put aside",
        "atomic_commit/recovery.py",
        "            if failures >= self._limits.quarantine_after:",
        "            if False:",
        _RECOVERY + "test_one_poisoned_transaction_does_not_stop_the_others_and_is_put_aside_in_the_end",
    ),
    Mutant(
        "quarantine: what contradicts the decision is put aside",
        "atomic_commit/coordinator.py",
        "        if answer is Answer.IMPOSSIBLE:",
        "        if False:",
        _RESOLVING + "test_a_commit_of_a_branch_that_is_not_there_is_put_aside_loudly",
    ),
    Mutant(
        "a business refusal is final",
        "atomic_commit/votes.py",
        "    if any(ballot.cause in (Cause.REFUSED, Cause.REVOKED) for ballot in noes):\n        return Decision.ABORT\n",
        "",
        _VOTES,
    ),
    Mutant(
        "the deadline ends what is tried again",
        "atomic_commit/votes.py",
        "    again = Decision.ABORT if situation.deadline_over else Decision.RETRY",
        "    again = Decision.RETRY",
        _VOTES,
    ),
    Mutant(
        "an order for a user who is being removed is refused",
        "users_service/branches.py",
        '    if user.status != "active":',
        "    if False:",
        _REFUSALS + "test_a_user_who_is_being_removed_cannot_order",
    ),
    # ---- servers that hang
    Mutant(
        "a broker that hangs: its sockets have a time limit",
        "celery_config/settings.py",
        '        "socket_timeout": 2.0,\n',
        "",
        "broker/test_outages.py::test_what_is_asked_while_the_broker_hangs_is_accepted_in_bounded_time[redis]",
    ),
)
