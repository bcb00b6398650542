"""Mutants of standing in line: who goes, when, and with whom."""

from __future__ import annotations

from .mutant import Mutant

_SHARED = "eager/concurrency/test_shared_attempts.py::"
_LINE = "eager/concurrency/test_standing_in_line.py::"

STANDING_IN_LINE = (
    Mutant(
        "who is quarantined is released by nobody but a person",
        "engine/src/atomic_commit/journal/settling.py",
        "quarantined_at=sa.case((_decided, None), else_=table.c.quarantined_at)",
        "quarantined_at=None",
        _LINE + "test_the_last_answer_of_an_old_attempt_releases_nobody_who_is_quarantined",
    ),
    # ---- whose turn it is
    Mutant(
        "the turn: one at a time forms attempts",
        "engine/src/atomic_commit/journal/forming.py",
        '    if not session.scalar(_ADMISSION, {"locks": ADMISSION_LOCKS, "kind": kind}):',
        "    if False:",
        _LINE + "test_two_who_form_attempts_at_the_same_moment_form_no_more_than_are_allowed",
    ),
    Mutant(
        "the turn: of two who begin one may go at once",
        "engine/src/atomic_commit/journal/accepting.py",
        'pg_try_advisory_xact_lock(:locks, hashtext(:kind))"\n    f"   AND {NOBODY',
        'true"\n    f"   AND {NOBODY',
        _LINE + "test_of_two_who_begin_at_the_same_moment_one_takes_the_last_turn",
    ),
    Mutant(
        "the turn: each kind has its own",
        "engine/src/atomic_commit/journal/accepting.py",
        'hashtext(:kind))"\n    f"   AND {NOBODY',
        '1)"\n    f"   AND {NOBODY',
        _LINE + "test_of_two_who_begin_at_the_same_moment_one_takes_the_last_turn",
    ),
    Mutant(
        "the bound: who begins waits while all attempts are taken",
        "engine/src/atomic_commit/journal/accepting.py",
        " AND {NOBODY_FRESH_WAITS} AND {PLACE_FOR_FRESH} AS goes",
        " AND {NOBODY_FRESH_WAITS} AS goes",
        _SHARED + "test_what_comes_while_all_attempts_are_taken_waits_and_goes_when_one_of_them_is_decided",
    ),
    Mutant(
        "the bound: who waits goes on waiting while all attempts are taken",
        "engine/src/atomic_commit/journal/admission.py",
        'FRESH_MAY_GO = f"{_WAITS.format(line=_FRESH)} AND {PLACE_FOR_FRESH}"',
        'FRESH_MAY_GO = f"{_WAITS.format(line=_FRESH)}"',
        _SHARED + "test_what_comes_while_all_attempts_are_taken_waits_and_goes_when_one_of_them_is_decided",
    ),
    Mutant(
        "the bound: who follows does not count as an attempt",
        "engine/src/atomic_commit/journal/admission.py",
        "AND waits_until IS NULL AND leader IS NULL AND quarantined_at",
        "AND waits_until IS NULL AND quarantined_at",
        _LINE + "test_an_attempt_counts_as_one_however_many_share_it",
    ),
    Mutant(
        "the bound: what is quarantined takes no attempt from the others",
        "engine/src/atomic_commit/journal/admission.py",
        "AND leader IS NULL AND quarantined_at IS NULL) AS under_way",
        "AND leader IS NULL) AS under_way",
        _LINE + "test_what_is_quarantined_takes_no_turn",
    ),
    Mutant(
        "an attempt is shared by so many and no more",
        "engine/src/atomic_commit/journal/forming.py",
        '    .limit(sa.bindparam("size", type_=sa.Integer))\n',
        "",
        _SHARED + "test_an_attempt_is_shared_by_so_many_and_no_more",
    ),
    Mutant(
        "nobody overtakes those who wait",
        "engine/src/atomic_commit/journal/accepting.py",
        " AND {NOBODY_FRESH_WAITS} AND",
        " AND",
        _LINE + "test_nobody_overtakes_those_who_stand_in_line",
    ),
    Mutant(
        "who waits longest goes first",
        "engine/src/atomic_commit/journal/forming.py",
        "    .order_by(table.c.waits_until)\n",
        "",
        _LINE + "test_who_waits_longest_is_among_the_next_that_go",
    ),
    Mutant(
        "the oldest of an attempt are served first",
        "engine/src/atomic_commit/journal/records.py",
        "    .order_by(*_oldest_first)\n",
        "",
        _LINE + "test_the_oldest_of_an_attempt_are_served_first_however_their_rows_lie",
    ),
    Mutant(
        "a row that somebody holds is left for the next attempt",
        "engine/src/atomic_commit/journal/forming.py",
        ".with_for_update(skip_locked=True)\n)",
        ".with_for_update()\n)",
        _LINE + "test_one_whose_row_is_held_by_somebody_does_not_keep_the_others_in_line",
    ),
    Mutant(
        "alone: one that has to go alone takes nobody with it",
        "engine/src/atomic_commit/journal/forming.py",
        "        return found[:1]\n",
        "        return found\n",
        _LINE + "test_one_that_has_to_go_alone_does_wherever_it_stands",
    ),
    Mutant(
        "alone: one that has to go alone is taken by nobody",
        "engine/src/atomic_commit/journal/forming.py",
        "if not record.alone and _goes_with(",
        "if _goes_with(",
        _LINE + "test_one_that_has_to_go_alone_does_wherever_it_stands",
    ),
    Mutant(
        "a new attempt of one that followed waits until what it shared is settled",
        "engine/src/atomic_commit/journal/forming.py",
        "    sa.and_(branches_table.c.transaction_id == table.c.leader, branches_table.c.attempt == table.c.leader_attempt),\n",
        "",
        _LINE + "test_those_who_followed_wait_too_until_what_they_shared_is_settled",
    ),
    # ---- who lets them go
    Mutant(
        "the sweep lets go who waits",
        "engine/src/atomic_commit/coordinator/recover.py",
        "        if not self._dispatch():\n            return 0\n",
        "",
        _SHARED + "test_whoever_stood_in_line_past_the_deadline_is_tried_all_the_same",
    ),
    Mutant(
        "whoever has decided lets go who waits",
        "engine/src/atomic_commit/coordinator/coordinator.py",
        "        self._dispatch_if_possible(attempt.kind)\n",
        "",
        _SHARED + "test_what_comes_while_all_attempts_are_taken_waits_and_goes_when_one_of_them_is_decided",
    ),
    Mutant(
        "the last answer lets go who waits for it",
        "engine/src/atomic_commit/coordinator/coordinator.py",
        "        if kind_that_waits:\n",
        "        if False:\n",
        _LINE + "test_those_who_followed_wait_too_until_what_they_shared_is_settled",
    ),
    Mutant(
        "of an unknown kind: quarantined, and the others go",
        "engine/src/atomic_commit/coordinator/coordinator.py",
        "        for unknown in kinds - self._kinds.keys():",
        "        for unknown in set[str]():",
        _SHARED + "test_one_of_a_kind_that_nobody_knows_is_quarantined_and_the_others_go",
    ),
    Mutant(
        "of an unknown kind: nobody tries to let it go",
        "engine/src/atomic_commit/coordinator/coordinator.py",
        "for kind in kinds & self._kinds.keys())",
        "for kind in kinds)",
        _SHARED + "test_one_of_a_kind_that_nobody_knows_is_quarantined_and_the_others_go",
    ),
    Mutant(
        "who is quarantined does not go",
        "engine/src/atomic_commit/journal/forming.py",
        "_WAITS = (table.c.waits_until <= func.statement_timestamp(), table.c.quarantined_at.is_(None))",
        "_WAITS = (table.c.waits_until <= func.statement_timestamp(),)",
        _LINE + "test_what_is_quarantined_while_it_stands_in_line_stays_there",
    ),
    Mutant(
        "what was not sent is sent again with the same members",
        "engine/src/atomic_commit/journal/forming.py",
        "        .values(dispatched=False, next_look_at=for_leaders(pause),",
        "        .values(dispatched=False, waits_until=NOW, next_look_at=for_leaders(pause),",
        _LINE + "test_who_was_in_what_could_not_be_sent_is_not_joined_by_those_who_came_later",
    ),
    # ---- the deadline
    Mutant(
        "the deadline: who comes too late has an attempt of its own, to be aborted",
        "engine/src/atomic_commit/coordinator/attempts.py",
        "            late = next((member for member in members if member.late), None)",
        "            late = None",
        _LINE + "test_one_that_comes_too_late_is_no_reason_to_abort_those_behind_or_before_it",
    ),
    Mutant(
        "the deadline: an attempt that is to be aborted has no branches",
        "engine/src/atomic_commit/coordinator/attempts.py",
        "        if not members[0].late:",
        "        if True:",
        _SHARED + "test_whoever_was_tried_before_is_not_tried_after_the_deadline",
    ),
    Mutant(
        "the deadline: recovery aborts what its dispatcher has left",
        "engine/src/atomic_commit/coordinator/coordinator.py",
        "            return self._abort_late(attempt)\n",
        "            return True\n",
        _LINE + "test_one_that_comes_too_late_is_aborted_by_recovery_where_its_dispatcher_died",
    ),
    Mutant(
        "the deadline: who only stood in line is tried all the same",
        "engine/src/atomic_commit/journal/records.py",
        "self.attempt > 1 and self.read_at > self.deadline",
        "self.read_at > self.deadline",
        _SHARED + "test_whoever_stood_in_line_past_the_deadline_is_tried_all_the_same",
    ),
    Mutant(
        "the deadline: who only stood in line has time left",
        "engine/src/atomic_commit/journal/forming.py",
        '(table.c.attempt == 1, func.greatest(table.c.deadline, in_seconds(given_seconds("time_left"))))',
        "(table.c.attempt == 1, table.c.deadline)",
        _LINE + "test_whoever_stood_in_line_past_the_deadline_has_time_for_another_try",
    ),
    Mutant(
        "the deadline: a second attempt is no reason for a later one",
        "engine/src/atomic_commit/journal/forming.py",
        '(table.c.attempt == 1, func.greatest(table.c.deadline, in_seconds(given_seconds("time_left"))))',
        '(table.c.attempt > 0, func.greatest(table.c.deadline, in_seconds(given_seconds("time_left"))))',
        _LINE + "test_a_second_attempt_is_no_reason_for_a_later_deadline",
    ),
)
