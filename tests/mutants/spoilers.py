"""Mutants of what keeps those who are refused, locked out or silent from costing the others anything."""

from __future__ import annotations

from .mutant import Mutant

_SHARED = "eager/concurrency/test_shared_attempts.py::"
_LINE = "eager/concurrency/test_standing_in_line.py::"
_BRANCHES = "eager/concurrency/test_shared_branches.py::"
_LEFT_OUT = _BRANCHES + "test_who_is_left_out_keeps_no_row_locked"

SPOILERS = (
    Mutant(
        "behind a hold, who is refused is left out and the others go on",
        "engine/src/atomic_commit/participant/prepared.py",
        '"changed": _changed(handed_on) or not branch.holds,',
        '"changed": True,',
        _SHARED + "test_one_that_a_later_branch_refuses_is_left_out_where_the_first_only_holds",
    ),
    Mutant(
        "behind a branch that is no hold, nobody is left out",
        "engine/src/atomic_commit/participant/prepared.py",
        '"changed": _changed(handed_on) or not branch.holds,',
        '"changed": _changed(handed_on),',
        _SHARED + "test_one_that_a_later_branch_refuses_is_aborted_and_the_others_go_again_without_it",
    ),
    Mutant(
        "a hold that writes by a statement is refused",
        "engine/src/atomic_commit/participant/own_transaction.py",
        '        listen(session, "do_orm_execute", _refuse_to_write)\n',
        "",
        _BRANCHES + "test_a_hold_that_writes_is_refused_loudly[zero_by_statement]",
    ),
    Mutant(
        "a hold that writes by an object is refused",
        "engine/src/atomic_commit/participant/own_transaction.py",
        '        listen(session, "before_flush", _refuse_to_flush)\n',
        "",
        _BRANCHES + "test_a_hold_that_writes_is_refused_loudly[zero_by_object]",
    ),
    Mutant(
        "who was rolled back because of another meets no newcomers",
        "engine/src/atomic_commit/journal/forming.py",
        "other.companions == first.companions and ",
        "",
        _SHARED + "test_those_who_were_rolled_back_because_of_another_go_again_together_and_without_newcomers",
    ),
    Mutant(
        "who is left out keeps no row locked: asked together",
        "engine/src/atomic_commit/participant/members.py",
        "    if noes:\n        raise _NotAll(noes)\n    return {member",
        "    if noes:\n        pass\n    return {member",
        _LEFT_OUT + "[together]",
    ),
    Mutant(
        "who is left out keeps no row locked: asked one by one",
        "engine/src/atomic_commit/participant/members.py",
        "    with session.begin_nested():\n        locks.take",
        "    if True:\n        locks.take",
        _LEFT_OUT + "[one-by-one]",
    ),
    Mutant(
        "a user who is being removed is not locked for an order",
        "users_service/branches_batch.py",
        '_is_wanted, _table.c.status == "active")',
        "_is_wanted)",
        _BRANCHES + "test_a_user_who_is_being_removed_is_not_locked_for_an_order_that_is_refused",
    ),
    Mutant(
        "an outcome worker does not wait long for a row of the business",
        "engine/src/atomic_commit/coordinator/members.py",
        "            self._limits.branch_row_timeout,\n",
        "            self._limits.lock_timeout,\n",
        _BRANCHES + "test_an_outcome_worker_does_not_wait_long_for_a_row_of_the_business",
    ),
    Mutant(
        "silent attempts do not take the places of the others",
        "engine/src/atomic_commit/journal/admission.py",
        '_PLACE.format(own="fresh")',
        '_PLACE.format(own="fresh + silent")',
        _LINE + "test_silent_attempts_do_not_keep_others_of_their_kind_from_going",
    ),
    Mutant(
        "the silent have places that are counted too",
        "engine/src/atomic_commit/journal/admission.py",
        "_PLACE.format(own='silent')",
        "_PLACE.format(own='fresh - fresh')",
        _LINE + "test_the_silent_have_no_more_places_than_the_others",
    ),
    Mutant(
        "who was silent shares no attempt with who was not",
        "engine/src/atomic_commit/journal/forming.py",
        " and bool(other.silent_attempts) == bool(first.silent_attempts)",
        "",
        _LINE + "test_who_was_silent_shares_no_attempt_with_who_was_not",
    ),
    Mutant(
        "while nobody answers, all share the places of one line",
        "engine/src/atomic_commit/journal/admission.py",
        "silent_before < :all_are_silent OR",
        "true OR",
        _LINE + "test_while_nobody_answers_no_more_and_more_attempts_are_sent",
    ),
)
