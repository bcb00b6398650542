"""Mutants of shared attempts: each of those who share one ends as it would have ended alone."""

from __future__ import annotations

from .mutant import Mutant

_SHARED = "eager/concurrency/test_shared_attempts.py::"
_LINE = "eager/concurrency/test_standing_in_line.py::"
_BEGIN = "eager/concurrency/test_begin_batch.py::"
_TOGETHER = "eager/concurrency/test_batches.py::"
_BRANCHES = "eager/concurrency/test_shared_branches.py::"
_LOCKS = "eager/protocol/test_lock_order.py::"
_FAILS_FOR_ALL = _BRANCHES + "test_a_change_that_fails_for_all_together_is_not_counted_against_each"
_FAILS = _SHARED + "test_one_whose_own_change_fails_is_found_by_letting_each_go_alone"

SHARING = (
    # ---- in a branch
    Mutant(
        "lock order of rows: users",
        "users_service/branches_batch.py",
        ".order_by(_table.c.id).with_for_update(read=True)",
        ".with_for_update(read=True)",
        _LOCKS + "test_a_branch_that_several_share_locks_the_rows_of_all_in_primary_key_order",
    ),
    Mutant(
        "lock order across members: all rows are locked before the first runs",
        "engine/src/atomic_commit/participant/members.py",
        "        branch.lock(session, list(members.values()))\n        return",
        "        return",
        _LOCKS
        + "test_a_branch_that_several_share_locks_the_rows_of_all_in_primary_key_order[one-by-one-products.restock]",
    ),
    Mutant(
        "lock order across members: also where they are tried one by one",
        "engine/src/atomic_commit/participant/members.py",
        "                branch.lock(self._session, list(members.values()))\n",
        "                pass\n",
        _LOCKS + "test_a_lock_that_is_not_to_be_had_is_waited_for_once",
    ),
    Mutant(
        "a savepoint for all of them: what they have done together is undone before they are tried one by one",
        "engine/src/atomic_commit/participant/members.py",
        "    with session.begin_nested():\n        at_once",
        "    if True:\n        at_once",
        _TOGETHER + "test_what_was_done_together_is_undone_before_they_are_asked_one_by_one",
    ),
    Mutant(
        "a savepoint for each: a no undoes what its own has done",
        "engine/src/atomic_commit/participant/members.py",
        "            with translated_errors(), session.begin_nested():",
        "            with translated_errors():",
        _TOGETHER + "test_a_no_undoes_what_its_own_has_done_and_nothing_else",
    ),
    Mutant(
        "locks that can't be had together do not end the attempt of all",
        "engine/src/atomic_commit/participant/members.py",
        "                raise\n            self.wait_for_what_is_left()\n",
        "                raise\n            raise\n",
        _SHARED + "test_one_whose_row_is_held_by_somebody_is_left_out_and_tried_again",
    ),
    Mutant(
        "locks that can't be had together are waited for once",
        "engine/src/atomic_commit/participant/members.py",
        "            raise\n    locks.wait_for_what_is_left()\n    try",
        "            raise\n    try",
        _LOCKS + "test_a_lock_that_is_not_to_be_had_is_waited_for_once",
    ),
    Mutant(
        "each member's call finds a session like a new one",
        "engine/src/atomic_commit/participant/members.py",
        "    session.expunge_all()\n",
        "",
        _BRANCHES + "test_each_finds_in_its_session_what_a_new_one_would_find",
    ),
    Mutant(
        "a no in a later branch gives up the attempt",
        "engine/src/atomic_commit/participant/prepared.py",
        "goes_on = bool(run.added) and not (run.noes and _changed",
        "goes_on = bool(run.added) and not (False and _changed",
        _SHARED + "test_one_that_a_later_branch_refuses_is_aborted_and_the_others_go_again_without_it",
    ),
    Mutant(
        "a no in the first branch does not give up the attempt",
        "engine/src/atomic_commit/participant/prepared.py",
        "not (run.noes and _changed(handed_on))",
        "not run.noes",
        _SHARED + "test_one_that_the_first_branch_refuses_is_left_out_and_the_others_commit",
    ),
    Mutant(
        "a refusal beside others is heard again without them",
        "engine/src/atomic_commit/participant/prepared.py",
        "        if no.cause is not Cause.REFUSED or run.undisturbed:\n",
        "        if True:\n",
        _SHARED + "test_one_that_had_no_room_because_of_one_that_never_commits_is_served_in_the_end",
    ),
    Mutant(
        "a refusal beside others who do not commit is tried again",
        "engine/src/atomic_commit/coordinator/decide.py",
        "        decisions |= refused_beside(attempt, ballots)\n",
        "",
        _BRANCHES + "test_a_refusal_in_the_first_branch_is_none_where_those_who_caused_it_do_not_commit",
    ),
    # ---- in the decision
    Mutant(
        "a branch's vote about the others is not about whom an earlier one has dropped",
        "engine/src/atomic_commit/votes.py",
        "        if ballot.vote is Vote.YES and of_member[-1] is not ballot:\n            break\n",
        "",
        _SHARED + "test_an_earlier_member_that_was_left_out_is_not_judged_by_what_came_after_it",
    ),
    Mutant(
        "who was dropped does not commit with the others",
        "engine/src/atomic_commit/votes.py",
        "        return next((ballot for member, ballot in self.members if member == transaction), self)",
        "        return self",
        _SHARED + "test_one_that_the_first_branch_refuses_is_left_out_and_the_others_commit",
    ),
    Mutant(
        "who was dropped is decided about with the others",
        "engine/src/atomic_commit/coordinator/decide.py",
        "            self._members.leave_out(session, attempt, ballots, dropped, given_up=False)\n",
        "",
        _SHARED + "test_one_that_the_first_branch_refuses_is_left_out_and_the_others_commit",
    ),
    Mutant(
        "an attempt that has lost a member is decided by nobody",
        "engine/src/atomic_commit/coordinator/members.py",
        "        if held and held != {member.id for member in attempt.members}:",
        "        if False:",
        _BRANCHES + "test_an_attempt_that_has_lost_a_member_is_decided_by_nobody",
    ),
    Mutant(
        "one decision: who waits for another attempt is not part of the last",
        "engine/src/atomic_commit/journal/records.py",
        "table.c.state == State.PREPARING, table.c.waits_until.is_(None), ",
        "table.c.state == State.PREPARING, ",
        _LINE + "test_one_who_had_counted_the_votes_before_it_was_given_up_commits_nobody",
    ),
    Mutant(
        "lock order of the members' rows: they are held before anything is decided",
        "engine/src/atomic_commit/coordinator/decide.py",
        "            if not self._members.hold(session, attempt):\n                return False, None\n            if",
        "            if",
        _LOCKS + "test_a_decider_locks_the_rows_of_an_attempt_in_the_order_of_their_ids",
    ),
    Mutant(
        "lock order of the members' rows: by id",
        "engine/src/atomic_commit/journal/deciding.py",
        ".order_by(table.c.id).with_for_update()",
        ".with_for_update()",
        _LOCKS + "test_a_decider_locks_the_rows_of_an_attempt_in_the_order_of_their_ids",
    ),
    Mutant(
        "a local change that fails for all: a refusal of one does not abort the others",
        "engine/src/atomic_commit/coordinator/decide.py",
        "        return replace(no, cause=Cause.FAILED) if attempt.shared else no\n",
        "        return no\n",
        _BRANCHES + "test_one_whose_own_change_is_refused_is_not_the_end_of_the_others",
    ),
    Mutant(
        "a local change that fails for all: each goes alone then",
        "engine/src/atomic_commit/coordinator/members.py",
        "            alone=alone or often_silent or cause is Cause.FAILED,",
        "            alone=alone or often_silent,",
        _FAILS,
    ),
    Mutant(
        "a local change that fails for all: not counted against each",
        "engine/src/atomic_commit/coordinator/members.py",
        "            failed=cause is Cause.FAILED and not attempt.shared,",
        "            failed=cause is Cause.FAILED,",
        _FAILS_FOR_ALL,
    ),
    Mutant(
        "alone: who spoils it for the others",
        "engine/src/atomic_commit/coordinator/members.py",
        "            alone=alone or often_silent or",
        "            alone=often_silent or",
        _SHARED + "test_one_that_spoils_it_for_the_others_goes_alone_from_then_on",
    ),
    Mutant(
        "alone: who is silent again and again",
        "engine/src/atomic_commit/coordinator/members.py",
        "            alone=alone or often_silent or",
        "            alone=alone or",
        _SHARED + "test_one_that_is_silent_again_and_again_goes_alone",
    ),
    Mutant(
        "aborts have a savepoint: a mark that can't be taken back keeps nobody undecided",
        "engine/src/atomic_commit/coordinator/members.py",
        "            with session.begin_nested() if attempt.shared else nullcontext():",
        "            with nullcontext():",
        _SHARED + "test_one_whose_mark_cannot_be_taken_back_does_not_keep_the_others_undecided",
    ),
    Mutant(
        "aborts that can't be made together are made one by one",
        "engine/src/atomic_commit/coordinator/members.py",
        "            again, met = [*again, *aborted], False\n",
        "            met = False\n",
        _SHARED + "test_one_whose_mark_cannot_be_taken_back_does_not_keep_the_others_undecided",
    ),
    # ---- settled, quarantined
    Mutant(
        "followers are settled with their leader",
        "engine/src/atomic_commit/journal/settling.py",
        "sa.or_(sa.and_(table.c.id == LEADING, table.c.leader.is_(None)), table.c.leader == LEADING)",
        "sa.and_(table.c.id == LEADING, table.c.leader.is_(None))",
        _SHARED + "test_who_waits_goes_together_with_one_prepared_transaction_in_each_service",
    ),
    Mutant(
        "who follows another now is not settled by what it led before",
        "engine/src/atomic_commit/journal/settling.py",
        "sa.or_(sa.and_(table.c.id == LEADING, table.c.leader.is_(None)), table.c.leader == LEADING)",
        "sa.or_(table.c.id == LEADING, table.c.leader == LEADING)",
        _LINE + "test_an_old_answer_to_one_that_led_does_not_settle_what_it_follows_now",
    ),
    Mutant(
        "quarantine: all of an attempt are quarantined together",
        "engine/src/atomic_commit/journal/recovering.py",
        "        .where(_with_others(transaction), table.c.settled_at.is_(None))\n",
        "        .where(table.c.id == transaction, table.c.settled_at.is_(None))\n",
        _SHARED + "test_all_of_an_attempt_are_quarantined_together_and_released_together",
    ),
    Mutant(
        "quarantine: all of an attempt are released together",
        "engine/src/atomic_commit/journal/recovering.py",
        "            .where(_with_others(transaction), table.c.quarantined_at",
        "            .where(table.c.id == transaction, table.c.quarantined_at",
        _SHARED + "test_all_of_an_attempt_are_quarantined_together_and_released_together",
    ),
    # ---- beginning together
    Mutant(
        "those who begin together wait for locks only for a moment",
        "engine/src/atomic_commit/coordinator/begin_batch.py",
        "            session.execute(_SHORT_WAIT)\n",
        "",
        _BEGIN + "test_one_whose_row_is_locked_waits_by_itself",
    ),
    Mutant(
        "whoever could not begin together begins by itself",
        "engine/src/atomic_commit/coordinator/begin_batch.py",
        "            certain = answered_commit(session)\n            for one in batch:\n                one.record, one.certain = records[one.transaction], certain\n",
        "            for one in batch:\n                one.record = records[one.transaction]\n            certain = answered_commit(session)\n",
        _BEGIN + "test_where_the_commit_of_all_fails_each_begins_by_itself",
    ),
    Mutant(
        "a commit of all that is not answered is not taken for a yes",
        "engine/src/atomic_commit/coordinator/begin_batch.py",
        "return newcomer.record if newcomer.certain else",
        "return newcomer.record if True else",
        _BEGIN + "test_where_the_commit_of_all_is_lost_each_learns_that_it_did_not_happen",
    ),
    Mutant(
        "no more than so many begin together",
        "engine/src/atomic_commit/coordinator/begin_batch.py",
        "self._wait[:_MOST], self._wait[_MOST:]",
        "self._wait[:], []",
        _BEGIN + "test_no_more_than_so_many_begin_batch",
    ),
    Mutant(
        "who begins together forgets nobody",
        "engine/src/atomic_commit/coordinator/begin_batch.py",
        "            if values.keys() != arguments.keys():\n",
        "            if False:\n",
        _BEGIN + "test_nobody_is_forgotten_by_what_begins_together",
    ),
    Mutant(
        "who commits together forgets nobody",
        "engine/src/atomic_commit/coordinator/decide.py",
        "        if done.keys() != of_each.keys():\n",
        "        if False:\n",
        _BRANCHES + "test_nobody_is_forgotten_by_what_commits_together",
    ),
    Mutant(
        "a removal that begins has the user's row before it looks",
        "users_service/remove_user.py",
        "select(User).where(User.id == user_id).with_for_update()",
        "select(User).where(User.id == user_id)",
        _BEGIN + "test_a_user_who_becomes_active_while_a_removal_looks_is_marked_all_the_same",
    ),
    Mutant(
        "orders cancelled together: what one user held is put back once",
        "orders_service/branches_batch.py",
        "held.pop(user, {})",
        "held.get(user, {})",
        _TOGETHER + "test_a_branch_changes_and_returns_the_same[orders.cancel_user_orders]",
    ),
    Mutant(
        "removals together: not one too few is marked",
        "users_service/remove_user_batch.py",
        "    if len(marked) != len(removals):\n",
        "    if False:\n",
        _BEGIN + "test_one_who_is_refused_is_told_why_and_keeps_out_nobody_else",
    ),
    Mutant(
        "removals together: only who is active",
        "users_service/remove_user_batch.py",
        '_table.c.id == _marks.c.user_id, _table.c.status == "active"',
        "_table.c.id == _marks.c.user_id",
        _BEGIN + "test_a_user_who_is_being_removed_is_not_removed_again_by_those_who_come_together",
    ),
    Mutant(
        "removals together: each removes whom it has marked",
        "users_service/remove_user_batch.py",
        "_table.c.id == _marks.c.user_id, _table.c.removed_by == _marks.c.transaction)",
        "_table.c.id == _marks.c.user_id)",
        _TOGETHER + "test_only_the_users_of_these_removals_are_removed",
    ),
    # ---- working together
    Mutant(
        "who works together forgets nobody",
        "engine/src/atomic_commit/participant/members.py",
        "zip(members, at_once, strict=True)",
        "zip(members, at_once)",
        _TOGETHER + "test_one_result_for_each_or_none_at_all",
    ),
    # ---- one for all
    Mutant(
        "nobody is spared by what began before it asked",
        "engine/src/atomic_commit/coordinator/coalesce.py",
        "            if self._begun == begun:\n",
        "            if self._begun == 0:\n",
        "unit/concurrency/test_coalescer.py::test_whoever_asks_afterwards_is_not_spared",
    ),
    Mutant(
        "who shares a user's row waits behind who has to write it",
        "users_service/branches.py",
        "    turnstile.pass_through(session, [user_id])\n",
        "",
        "eager/concurrency/test_turnstile.py::test_an_order_that_comes_later_waits_behind_a_removal_that_waits",
    ),
    Mutant(
        "a removal keeps the turnstile shut",
        "users_service/remove_user.py",
        "    turnstile.shut(session, [user_id])\n",
        "",
        "eager/concurrency/test_turnstile.py::test_who_writes_waits_for_those_who_are_passing",
    ),
    Mutant(
        "removals that begin together keep the turnstile shut",
        "users_service/remove_user_batch.py",
        "    turnstile.shut(session, users)\n",
        "",
        "eager/concurrency/test_turnstile.py::test_removals_that_begin_batch_wait_for_those_who_are_passing_too",
    ),
    Mutant(
        "a number that no user can have is no error at the turnstile",
        "users_service/turnstile.py",
        " if id <= _GREATEST)",
        ")",
        "eager/http_api/test_bad_input.py::test_an_id_beyond_what_the_database_counts_to_is_just_not_there",
    ),
    Mutant(
        "a change of a user keeps the turnstile shut",
        "users_service/routes.py",
        "    turnstile.shut(db.session(), [user_id])\n",
        "",
        "eager/concurrency/test_turnstile.py::test_who_writes_waits_for_those_who_are_passing",
    ),
    Mutant(
        "nothing is kept of the turnstile in what is prepared",
        "users_service/turnstile.py",
        "pg_advisory_unlock_shared({_CLASS}, id) FROM",
        "id FROM",
        "eager/concurrency/test_turnstile.py::test_an_order_waits_for_nobody_where_nobody_has_to_write",
    ),
    Mutant(
        "who has passed the turnstile does not wait before it again",
        "users_service/turnstile.py",
        "        passed |= new\n",
        "",
        "eager/concurrency/test_turnstile.py::test_orders_that_share_an_attempt_pass_once",
    ),
)
