"""Mutants of what names, and makes good, what a database has forgotten."""

from __future__ import annotations

from .mutant import Mutant

_VERIFY = "eager/recovery/test_verify.py::"
_REDO = "eager/recovery/test_redo.py::"
_LONG = _VERIFY + "test_a_long_history_is_read_page_by_page_and_each_branch_of_an_attempt_is_named_once"
_SAYS_ELSE = _VERIFY + "test_a_journal_that_says_something_else_has_forgotten_what_was_done"
_PREPARED = "engine/src/atomic_commit/participant/prepared.py"
_PROOFS = "engine/src/atomic_commit/participant/proofs.py"
_RUN_AGAIN = "engine/src/atomic_commit/participant/redo.py"
_VERIFICATION = "engine/src/atomic_commit/verify/verification.py"
_PEERS = "engine/src/atomic_commit/verify/peers.py"
_ANSWERS = "engine/src/atomic_commit/verify/answers.py"
_COMPARING = "engine/src/atomic_commit/journal/comparing.py"
_LOSSES = "engine/src/atomic_commit/journal/losses.py"

LOSSES = (
    # ---- what the participant has
    Mutant(
        "a hold that is forgotten is committed",
        _PREPARED,
        "        if row is None and wanted is Answer.COMMITTED and gid.branch in self._holds:\n",
        "        if False:\n",
        _REDO + "test_a_commit_of_a_hold_that_is_forgotten_is_done_and_no_late_prepare_holds_anything",
    ),
    Mutant(
        "nothing but a hold is committed though it is not there",
        _PREPARED,
        " and gid.branch in self._holds:",
        ":",
        "eager/protocol/test_resolving_prepared.py::test_a_commit_of_a_branch_that_is_not_there_is_quarantined_loudly",
    ),
    Mutant(
        "a row stands in for a hold that is forgotten",
        _PREPARED,
        '            return self._fence(gid, "done", "{}")\n',
        '            return "done"\n',
        _REDO + "test_a_commit_of_a_hold_that_is_forgotten_is_done_and_no_late_prepare_holds_anything",
    ),
    Mutant(
        "what stands prepared is not lost",
        _PROOFS,
        "            if not missing or str(gid) in prepared:\n",
        "            if not missing:\n",
        _VERIFY + "test_what_stands_prepared_again_asks_by_itself_and_is_not_lost",
    ),
    Mutant(
        "a hold that is forgotten is no loss",
        _PROOFS,
        "            if branch and branch.holds:\n",
        "            if False:\n",
        _VERIFY + "test_nothing_is_lost_of_a_hold_that_is_granted_still_and_a_row_stands_for_it_again",
    ),
    Mutant(
        "a hold that would be refused now is lost",
        _VERIFICATION,
        "            if not refused:\n",
        "            if True:\n",
        _VERIFY + "test_a_hold_that_would_be_refused_now_is_lost_until_it_is_granted_or_a_person_has_seen_to_it",
    ),
    Mutant(
        "a lost hold is not found again by what is no proof",
        _VERIFICATION,
        '{*lacks["absent"], *lacks["harmless"]}',
        '{*lacks["absent"]}',
        _VERIFY + "test_a_hold_that_would_be_refused_now_is_lost_until_it_is_granted_or_a_person_has_seen_to_it",
    ),
    Mutant(
        "a row that stands in for a hold is of nobody",
        _PREPARED,
        'self._fence(gid, "done", "{}")',
        'self._fence(gid, "done")',
        _REDO + "test_a_commit_of_a_hold_that_is_forgotten_is_done_and_no_late_prepare_holds_anything",
    ),
    Mutant(
        "of several holds each is granted or refused by itself",
        _RUN_AGAIN,
        "                self.redo(gid, {member: values}, age, sure=False, meant_for=meant_for)\n",
        "                self.redo(gid, members, age, sure=False, meant_for=meant_for)\n",
        _VERIFY + "test_of_several_holds_those_are_lost_that_would_be_refused",
    ),
    Mutant(
        "a branch row proves nothing for whom it does not name",
        _PROOFS,
        "[member for member in members if member not in row.members]",
        "[]",
        _VERIFY + "test_a_branch_row_of_others_is_no_proof",
    ),
    Mutant(
        "a tombstone is no proof",
        _PROOFS,
        '    if row is None or row.kind != "done":\n',
        "    if row is None:\n",
        _VERIFY + "test_a_branch_that_is_fenced_though_it_was_committed_is_lost",
    ),
    # ---- what the coordinator has
    Mutant(
        "who is not settled is under way and not lost",
        _COMPARING,
        "    if row.under_way:\n",
        "    if False:\n",
        _VERIFY + "test_what_is_owed_or_undecided_is_under_way_and_not_lost",
    ),
    Mutant(
        "what was aborted was not committed",
        _COMPARING,
        '    if row.state != "committed":\n',
        "    if False:\n",
        _SAYS_ELSE,
    ),
    Mutant(
        "what was committed in another attempt was not committed in this one",
        _COMPARING,
        "    return None if told and (row.leading, row.number) == _attempt_of(gid) else",
        "    return None if told else",
        _SAYS_ELSE,
    ),
    Mutant(
        "a branch that was not told to commit was not committed",
        _COMPARING,
        "    return None if told and (",
        "    return None if (",
        _VERIFY + "test_a_branch_that_was_not_told_to_commit_was_not_committed",
    ),
    Mutant(
        "one that is quarantined is compared as well",
        _COMPARING,
        " AND coalesce(settled_at, quarantined_at) IS NOT NULL AS over",
        " AND settled_at IS NOT NULL AS over",
        _VERIFY + "test_of_one_that_was_quarantined_because_of_it_the_branch_is_lost",
    ),
    # ---- the comparison
    Mutant(
        "where only a hold is done, nothing is",
        _VERIFICATION,
        "if row.done and not self._proofs.holds(row.place[-1])]",
        "if row.done]",
        _VERIFY + "test_where_a_hold_is_left_and_nothing_else_the_transaction_is_undone_and_not_lost",
    ),
    Mutant(
        "what seems lost is asked about once more",
        _VERIFICATION,
        '            absent = dict(_of_ours(asked, lacks["absent"]))\n',
        '            absent = {gid: Absent(members=[*m], found="nothing", safe_to_redo=True) for gid, m in asked}\n',
        _VERIFY + "test_what_seems_lost_is_asked_about_once_more",
    ),
    Mutant(
        "what is young is given time",
        _VERIFICATION,
        "        time.sleep(max(0.0, max(",
        "        (max(0.0, max(",
        _VERIFY + "test_what_is_young_is_asked_about_again_when_it_is_older",
    ),
    Mutant(
        "branch rows that are too old to be kept are not missed",
        _VERIFICATION,
        "_NEARLY * self._limits.keep_branch_rows",
        "1e9",
        _VERIFY + "test_a_branch_row_that_was_removed_before_its_transaction_settled_is_not_lost",
    ),
    Mutant(
        "transactions that are too old to be kept are not missed",
        _VERIFICATION,
        "        after = (max(since or kept, kept), _NOBODY",
        "        after = (since or _FIRST, _NOBODY",
        _VERIFY + "test_what_retention_has_removed_is_not_lost",
    ),
    Mutant(
        "all who share an attempt are named at once",
        _VERIFICATION,
        "for suspect in suspects.values() if suspect.decided_at < after[0]]",
        "for suspect in suspects.values()]",
        _LONG,
    ),
    Mutant(
        "clocks differ by an hour",
        _VERIFICATION,
        "_MARGIN = timedelta(hours=1)",
        "_MARGIN = timedelta(0)",
        _VERIFY + "test_since_when_is_told_and_what_is_older_is_not_compared",
    ),
    Mutant(
        "what is there again is closed",
        _VERIFICATION,
        "        self._look_again()\n",
        "",
        _VERIFY + "test_what_is_there_again_is_closed",
    ),
    # ---- who answers
    Mutant(
        "what is compared counts from the participant's own database only",
        _PEERS,
        '        if not self._atomic.coordinator.databases.accepts(service, said["database"]):\n',
        "        if False:\n",
        _VERIFY + "test_the_word_of_a_database_that_is_not_the_participants_counts_for_nothing",
    ),
    Mutant(
        "a question for another database is not answered",
        _ANSWERS,
        "        atomic.identity.must_be(database)\n        with translated_errors():\n",
        "        with translated_errors():\n",
        _VERIFY + "test_a_question_that_is_meant_for_another_database_is_not_answered",
    ),
    Mutant(
        "a question that is lost is asked again",
        _PEERS,
        "WITHIN, _TRIES = 10.0, 2",
        "WITHIN, _TRIES = 10.0, 1",
        _VERIFY + "test_who_does_not_answer_is_told_and_so_is_what_was_found_so_far",
    ),
    Mutant(
        "who does not answer is not asked a thousand times",
        _PEERS,
        " and self.asked.get(service, ANSWERED) == ANSWERED",
        "",
        _VERIFY + "test_who_has_not_answered_is_not_asked_any_more",
    ),
    Mutant(
        "who has come back older is asked again",
        "engine/src/atomic_commit/verify/background.py",
        "for pause in (0.0, *_PAUSES):",
        "for pause in (0.0,):",
        _VERIFY + "test_who_does_not_answer_is_asked_again_and_then_left_to_a_person",
    ),
    # ---- what becomes of a loss
    Mutant(
        "a loss that is found again is as old as it was",
        _LOSSES,
        "CASE WHEN losses.closed_at IS NULL THEN losses.found_at ELSE clock_timestamp() END",
        "clock_timestamp()",
        _VERIFY + "test_what_is_found_again_is_the_same_loss_and_is_said_once",
    ),
    Mutant(
        "what a person has closed stays closed",
        _LOSSES,
        '    " WHERE losses.closed_at IS NULL OR losses.closed_because',
        '    " WHERE true OR losses.closed_at IS NULL OR losses.closed_because',
        _VERIFY + "test_what_a_person_has_closed_is_not_named_again_unless_more_is_lost_of_it",
    ),
    Mutant(
        "more of what a person has closed is named",
        _LOSSES,
        "  OR NOT CAST(losses.",
        "  OR false AND NOT CAST(losses.",
        _VERIFY + "test_what_a_person_has_closed_is_not_named_again_unless_more_is_lost_of_it",
    ),
    Mutant(
        "losses that nobody has dealt with are kept",
        "engine/src/atomic_commit/journal/retention.py",
        "WHERE closed_at < now()",
        "WHERE found_at < now()",
        _VERIFY + "test_closed_losses_go_with_the_transactions_of_their_time_and_open_ones_stay",
    ),
    # ---- redo
    Mutant(
        "what was run again does not run once more",
        _RUN_AGAIN,
        "for member, values in members.items() if member not in row.members}",
        "for member, values in members.items()}",
        _REDO + "test_a_redo_whose_answer_was_lost_is_asked_for_again_and_does_nothing_more",
    ),
    Mutant(
        "the branch row is committed with what runs again",
        _RUN_AGAIN,
        '                    session.execute(_ADD_MEMBERS, {**_key(gid), "members": json.dumps(added)})\n',
        "",
        _REDO + "test_a_redo_whose_answer_was_lost_is_asked_for_again_and_does_nothing_more",
    ),
    Mutant(
        "the participant runs nothing unsafe by itself",
        _RUN_AGAIN,
        "        if not (branch.holds or branch.safe_to_redo or sure):\n",
        "        if False:\n",
        _REDO + "test_the_participant_itself_runs_nothing_unsafe_unless_a_person_has_said_yes",
    ),
    Mutant(
        "a person is shown what is unsafe before anything runs",
        "engine/src/atomic_commit/cli/verify.py",
        "    if unsafe and not arguments.yes:\n",
        "    if False:\n",
        _REDO + "test_what_is_not_declared_as_safe_is_shown_and_runs_when_a_person_says_yes",
    ),
    Mutant(
        "what was fenced does not run again",
        _RUN_AGAIN,
        '        if row.kind != "done":\n',
        "        if False:\n",
        _REDO + "test_what_was_rolled_back_there_is_a_persons",
    ),
    Mutant(
        "what runs again is as old as its attempt",
        _RUN_AGAIN,
        "clock_timestamp() - make_interval(secs => :age)",
        "clock_timestamp() - make_interval(secs => 0 * :age)",
        _REDO + "test_its_row_is_as_old_as_the_attempt",
    ),
    Mutant(
        "what a branch returned the first time is kept",
        _RUN_AGAIN,
        ", **{name: values[name] for name in added if name in values}}",
        "}",
        _REDO + "test_goods_that_were_ordered_are_taken_though_they_cost_more_by_now",
    ),
    Mutant(
        "a branch that hides an error has not run",
        _RUN_AGAIN,
        "        if has_failed(session.connection().connection.driver_connection):\n",
        "        if False:\n",
        _REDO + "test_a_branch_that_hides_an_error_of_the_database_has_not_run",
    ),
    Mutant(
        "nothing runs again in a database that is not meant",
        _RUN_AGAIN,
        "        self._identity.assert_own(str(row.database) if row.database else None, meant_for)\n",
        "",
        _REDO + "test_nothing_runs_again_in_another_database_than_is_meant",
    ),
    Mutant(
        "what runs again waits for locks where branches do",
        "engine/src/atomic_commit/verify/redo.py",
        "queue=atomic.installation.branch_queue(loss.service)",
        "queue=atomic.installation.outcome_queue(loss.service)",
        _REDO + "test_it_waits_in_the_queue_of_branches_because_it_may_wait_for_locks",
    ),
    Mutant(
        "who was quarantined is released",
        "engine/src/atomic_commit/verify/redo.py",
        "                journal.release(session, one)\n",
        "                pass\n",
        _REDO + "test_one_that_was_quarantined_because_of_it_is_released_and_settles",
    ),
    Mutant(
        "a branch does not take the place of a task of the protocol",
        "engine/src/atomic_commit/engine.py",
        'in self._branches.declared:\n            raise ValueError(f"{name} is',
        'in ():\n            raise ValueError(f"{name} is',
        "../engine/tests/test_what_is_lost.py::test_a_branch_may_not_have_a_name_of_the_protocols",
    ),
    Mutant(
        "who led an attempt and was left out names those who went on",
        "engine/src/atomic_commit/verify/verification.py",
        "        if not accepted:\n",
        "        if all(one.id != transaction or not one.over for one in accepted):\n",
        _REDO + "test_who_led_and_was_left_out_names_those_who_went_on",
    ),
    Mutant(
        "a moment in a message has a zone",
        "engine/src/atomic_commit/wire/other_releases.py",
        "datetime.fromisoformat(str(text)).astimezone(UTC)",
        "datetime.fromisoformat(str(text))",
        "eager/recovery/test_verify.py::test_a_moment_without_a_zone_is_this_machine_s",
    ),
    Mutant(
        "a hold that was fenced keeps nothing else from being compared",
        _RUN_AGAIN,
        "            except (Fenced, Defect) as no:",
        "            except ZeroDivisionError as no:",
        _VERIFY + "test_a_hold_that_was_fenced_is_lost_and_keeps_nothing_else_from_being_compared",
    ),
    Mutant(
        "a hold in whose way somebody is makes nobody silent",
        _ANSWERS,
        "            except Conflict as error:\n",
        "            except ZeroDivisionError as error:\n",
        _VERIFY + "test_a_hold_in_whose_way_somebody_is_is_left_for_the_next_time",
    ),
    Mutant(
        "a hold that was left is not called granted",
        _PEERS,
        ' for gid, *_ in some if str(gid) not in said["left"]',
        " for gid, *_ in some",
        _VERIFY + "test_a_hold_in_whose_way_somebody_is_is_left_for_the_next_time",
    ),
)
