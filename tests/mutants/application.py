"""Mutants of what is done to the whole application: pausing it, and restore points."""

from __future__ import annotations

from .mutant import Mutant

_ENGINE = "engine/src/atomic_commit/"
_PAUSE = "eager/operating/test_pause.py::"
_POINT = "eager/operating/test_restore_point.py::"
_COMMANDS = "eager/operating/test_application_commands.py::"
_WAITS = _POINT + "test_whatever_moves_a_transaction_on_waits_while_decisions_are_held_and_goes_on_afterwards"

APPLICATION = (
    Mutant(
        "a paused service accepts nothing",
        _ENGINE + "journal/accepting.py",
        '    f"  FROM admission WHERE {NOT_PAUSED} RETURNING *"\n',
        '    "  FROM admission RETURNING *"\n',
        _PAUSE + "test_nothing_is_accepted_and_who_asks_is_told_why",
    ),
    Mutant(
        "a paused service accepts nobody of those who come together",
        _ENGINE + "journal/accepting.py",
        '    f" WHERE {NOT_PAUSED}"\n',
        "",
        _PAUSE + "test_those_who_come_at_the_same_moment_are_not_accepted_either",
    ),
    Mutant(
        "pause waits for those who were accepting",
        _ENGINE + "coordinator/pause.py",
        "                journal.wait_for_who_accepts(session)\n",
        "                pass\n",
        _PAUSE + "test_pause_answers_when_those_who_were_accepting_have_ended",
    ),
    Mutant(
        "who accepts can be waited for by a pause",
        _ENGINE + "journal/accepting.py",
        '    f"{ACCEPTS} WITH admission AS MATERIALIZED ("\n',
        '    "WITH admission AS MATERIALIZED ("\n',
        _PAUSE + "test_pause_answers_when_those_who_were_accepting_have_ended",
    ),
    Mutant(
        "whether it is paused is read after the lock is had, in a statement of its own",
        _ENGINE + "journal/accepting.py",
        '    f"{ACCEPTS} WITH admission AS MATERIALIZED ("\n    "  SELECT pg_try',
        '    "WITH admission AS MATERIALIZED ("\n'
        '    "  SELECT pg_advisory_xact_lock_shared(7219403, 1) IS NOT NULL AND pg_try',
        _PAUSE + "test_who_comes_to_accept_after_the_pause_sees_it_however_early_it_has_begun",
    ),
    Mutant(
        "those who are accepted together can be waited for by a pause",
        _ENGINE + "journal/accepting.py",
        '    f"{ACCEPTS}"\n    " INSERT',
        '    " INSERT',
        _PAUSE + "test_who_comes_to_accept_after_the_pause_sees_it_however_early_it_has_begun",
    ),
    Mutant(
        "that a service is paused is told, and why",
        "http_api/distributed.py",
        "    except Paused as pause:\n        raise _paused(pause, key) from pause\n",
        "",
        _PAUSE + "test_a_client_is_answered_503_with_the_reason_and_when_to_come_again",
    ),
    Mutant(
        "pause waits for what stands prepared as well",
        _ENGINE + "engine.py",
        '"prepared": sum(each.gid is not None for each in found)}',
        '"prepared": 0 * len(found)}',
        _COMMANDS + "test_pause_waits_until_everything_is_settled_and_says_what_is_not",
    ),
    Mutant(
        "a decision waits while decisions are held",
        _ENGINE + "journal/deciding.py",
        "    .where(MAY_MOVE_ON, of_attempt(LEADING, NUMBER), IS_MEMBER)\n",
        "    .where(of_attempt(LEADING, NUMBER), IS_MEMBER)\n",
        _WAITS + "[decided_for]",
    ),
    Mutant(
        "another attempt waits while decisions are held",
        _ENGINE + "journal/deciding.py",
        "        .where(MAY_MOVE_ON, of_attempt(leader, number), table.c.id.in_(members))\n",
        "        .where(of_attempt(leader, number), table.c.id.in_(members))\n",
        _WAITS + "[tried_again]",
    ),
    Mutant(
        "who waits while decisions are held has locked no row that others decide about",
        _ENGINE + "journal/deciding.py",
        "select(table.c.id).where(MAY_MOVE_ON, of_attempt(LEADING, NUMBER))",
        "select(table.c.id).where(of_attempt(LEADING, NUMBER))",
        _WAITS + "[decided_together]",
    ),
    Mutant(
        "an answer is not recorded while decisions are held",
        _ENGINE + "journal/settling.py",
        '    f"SET LOCAL synchronous_commit = off; {MOVES_ON}"\n',
        '    "SET LOCAL synchronous_commit = off;"\n',
        _WAITS + "[answered]",
    ),
    Mutant(
        "no attempt is formed while decisions are held",
        _ENGINE + "journal/forming.py",
        'sa.text(f"{MOVES_ON} SELECT pg_try',
        'sa.text("SELECT pg_try',
        _WAITS + "[formed]",
    ),
    Mutant(
        "nothing is accepted while decisions are held",
        _ENGINE + "journal/holding.py",
        "sa.text(_EXCLUSIVE.format(_MOVING_ON) + _EXCLUSIVE.format(_ACCEPTING))",
        "sa.text(_EXCLUSIVE.format(_MOVING_ON))",
        _WAITS + "[accepted]",
    ),
    Mutant(
        "a hold waits for decisions that are under way",
        _ENGINE + "journal/holding.py",
        "sa.text(_EXCLUSIVE.format(_MOVING_ON) + _EXCLUSIVE.format(_ACCEPTING))",
        "sa.text(_SHARED.format(_MOVING_ON) + _EXCLUSIVE.format(_ACCEPTING))",
        _POINT + "test_a_hold_waits_for_a_decision_that_is_under_way",
    ),
    Mutant(
        "the server ends the hold of who hangs",
        _ENGINE + "coordinator/hold_decisions.py",
        '    f" SET LOCAL idle_in_transaction_session_timeout = {round(_SILENT * 1000)}"\n',
        "",
        _POINT + "test_a_hold_whose_holder_falls_silent_is_ended_by_the_server_and_says_so",
    ),
    Mutant(
        "a hold that has ended by itself is none",
        _ENGINE + "coordinator/hold_decisions.py",
        "        session.commit()\n",
        "",
        _POINT + "test_a_hold_whose_holder_falls_silent_is_ended_by_the_server_and_says_so",
    ),
    Mutant(
        "no point is set before all hold decisions",
        _ENGINE + "coordinator/restore_point.py",
        "                talk.step(Step.HELD, _HOLDS_FOR)\n",
        "",
        _POINT + "test_no_point_is_set_before_all_hold_and_nobody_lets_go_before_all_are_set",
    ),
    Mutant(
        "nobody lets go before all points are set",
        _ENGINE + "coordinator/restore_point.py",
        "                talk.step(Step.SET, _HOLDS_FOR)\n",
        "",
        _POINT + "test_no_point_is_set_before_all_hold_and_nobody_lets_go_before_all_are_set",
    ),
    Mutant(
        "who takes no part in a restore point is not taken for one who does",
        _ENGINE + "coordinator/restore_point.py",
        "        if left := [service for service, word in said.items() if word == Step.LEFT]:\n",
        "        if False and (left := []):\n",
        _POINT + "test_a_role_without_the_right_says_what_to_grant_and_all_let_go",
    ),
    Mutant(
        "who is missed is waited for no longer than for a moment, and not gone on without",
        _ENGINE + "coordinator/restore_point.py",
        "        if late := [service for service, word in said.items() if word not in done]:\n",
        "        if False and (late := []):\n",
        _POINT + "test_who_is_missed_lets_nobody_begin",
    ),
    Mutant(
        "a point that a crash could take away is none",
        _ENGINE + "coordinator/restore_point.py",
        "            flush(self._engine)\n",
        "",
        _POINT + "test_a_point_that_is_not_known_to_be_flushed_is_no_yes",
    ),
    Mutant(
        "who may have set a point does not say that it has not",
        _ENGINE + "coordinator/restore_point.py",
        "        if not self._may_be_set:\n",
        "        if True:\n",
        _POINT + "test_who_may_have_set_the_point_does_not_say_that_it_has_not",
    ),
    Mutant(
        "a point that may be set somewhere needs another name",
        _ENGINE + "coordinator/restore_point.py",
        "in (Step.HELD, Step.SET) for",
        "in () for",
        _COMMANDS + "test_a_point_that_may_be_set_somewhere_and_is_none_needs_another_name",
    ),
    Mutant(
        "where nobody can say whether a point is set, it may be",
        _ENGINE + "cli/application.py",
        "        begun = True\n",
        "        begun = False\n",
        _COMMANDS + "test_where_it_can_not_be_told_whether_anything_was_set_it_may_be",
    ),
)
