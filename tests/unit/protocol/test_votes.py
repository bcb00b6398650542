"""Votes and decisions: the two tables of ``atomic_commit.votes``, row by row, and what no row may ever break."""

from __future__ import annotations

import itertools
from dataclasses import replace
from uuid import UUID

import psycopg2
import pytest
from sqlalchemy.exc import DBAPIError

from atomic_commit.errors import (
    Conflict,
    Defect,
    Fenced,
    Impossible,
    Lost,
    MembersSaidNo,
    Missing,
    Refused,
    is_defect,
)
from atomic_commit.names import Gid
from atomic_commit.votes import (
    Ballot,
    Cause,
    Decision,
    Situation,
    Vote,
    ballot_of,
    ballots_of_member,
    deciding_ballot,
    decision_of,
    no_ballot,
)
from tests.installation import INSTALLATION

GID = Gid(
    INSTALLATION, "users.remove_user", UUID("12345678-1234-4234-8234-123456789abc"), 2, "orders.cancel_user_orders"
)
OTHER_ATTEMPT = replace(GID, attempt=1)
OTHER_BRANCH = replace(GID, branch="products.restock")
DATABASE = "4f1c6f5e-8a53-4d62-9b0e-0a4f5d1b7c11"


def proof(*gids: Gid) -> dict[str, object]:
    """What a branch that prepared hands on."""
    return {"prepared": {str(gid): DATABASE for gid in gids}, "members": {}}


def database_error(state: str) -> DBAPIError:
    """What SQLAlchemy makes of an error that the server answered."""

    class Said(psycopg2.Error):
        pgcode = state

    return DBAPIError("SELECT 1", {}, Said("oops"))


# ---- the vote table

VOTES = {
    # SUCCESS, and the result names its gid                     yes
    "success-with-its-gid": ("SUCCESS", proof(GID), Vote.YES, None),
    "success-with-its-gid-among-others": ("SUCCESS", proof(OTHER_BRANCH, GID), Vote.YES, None),
    # SUCCESS, without that proof                               silent
    "success-with-nothing": ("SUCCESS", None, Vote.SILENT, Cause.SILENCE),
    "success-with-a-word": ("SUCCESS", "ok", Vote.SILENT, Cause.SILENCE),
    "success-with-the-bare-gid": ("SUCCESS", str(GID), Vote.SILENT, Cause.SILENCE),
    "success-with-a-list": ("SUCCESS", [str(GID)], Vote.SILENT, Cause.SILENCE),
    "success-with-an-empty-object": ("SUCCESS", {}, Vote.SILENT, Cause.SILENCE),
    "success-with-its-gid-and-no-database": ("SUCCESS", {"prepared": [str(GID)]}, Vote.SILENT, Cause.SILENCE),
    "success-with-its-gid-and-null-for-the-database": (
        "SUCCESS",
        {"prepared": {str(GID): None}},
        Vote.SILENT,
        Cause.SILENCE,
    ),
    "success-with-no-gids": ("SUCCESS", proof(), Vote.SILENT, Cause.SILENCE),
    "success-with-another-branch's-gid": ("SUCCESS", proof(OTHER_BRANCH), Vote.SILENT, Cause.SILENCE),
    "success-with-another-attempt's-gid": ("SUCCESS", proof(OTHER_ATTEMPT), Vote.SILENT, Cause.SILENCE),
    "success-with-its-gid-inside-a-longer-text": (
        "SUCCESS",
        {"prepared": {f"{GID}x": DATABASE}},
        Vote.SILENT,
        Cause.SILENCE,
    ),
    # FAILURE with … (a defect is final, anything else is tried a few times)     no
    "failure-refused": ("FAILURE", Refused("no_room", "It is full."), Vote.NO, Cause.REFUSED),
    "failure-missing": ("FAILURE", Missing("unknown_user", "There is none."), Vote.NO, Cause.REFUSED),
    "failure-conflict": ("FAILURE", Conflict("locked"), Vote.NO, Cause.CONFLICT),
    "failure-lost": ("FAILURE", Lost("connection gone"), Vote.NO, Cause.LOST),
    "failure-impossible": ("FAILURE", Impossible("hid an error"), Vote.NO, Cause.FAILED),
    "failure-fenced": ("FAILURE", Fenced("over"), Vote.NO, Cause.FAILED),
    "failure-defect": ("FAILURE", Defect("NotNullViolation", "oops"), Vote.NO, Cause.DEFECT),
    "failure-defect-of-the-program": ("FAILURE", TypeError("oops"), Vote.NO, Cause.DEFECT),
    "failure-defect-by-its-sqlstate": ("FAILURE", database_error("23503"), Vote.NO, Cause.DEFECT),
    "failure-anything-else": ("FAILURE", RuntimeError("oops"), Vote.NO, Cause.FAILED),
    "failure-anything-else-of-a-database": ("FAILURE", database_error("58030"), Vote.NO, Cause.FAILED),
    "failure-members-said-no": ("FAILURE", MembersSaidNo({"a": {"cause": "refused"}}), Vote.NO, Cause.BESIDE),
    "failure-with-a-text": ("FAILURE", "what was stored was no exception", Vote.NO, Cause.FAILED),
    "failure-with-nothing": ("FAILURE", None, Vote.NO, Cause.FAILED),
    "failure-with-a-proof": ("FAILURE", proof(GID), Vote.NO, Cause.FAILED),
    # REVOKED                                                   no
    "revoked": ("REVOKED", None, Vote.NO, Cause.REVOKED),
    "revoked-with-a-proof": ("REVOKED", proof(GID), Vote.NO, Cause.REVOKED),
    # PENDING, RECEIVED, STARTED, RETRY, other                  silent
    **{
        status.lower() or "no-status": (status, result, Vote.SILENT, Cause.SILENCE)
        for status, result in (
            ("PENDING", None),
            ("RECEIVED", None),
            ("STARTED", {"pid": 1}),
            ("RETRY", Conflict("again")),
            ("IGNORED", None),
            ("REJECTED", None),
            ("UNKNOWN", None),
            ("PROGRESS", proof(GID)),
            ("success", proof(GID)),
            ("", None),
        )
    },
    "success-in-small-letters": ("success", proof(GID), Vote.SILENT, Cause.SILENCE),
}


@pytest.mark.parametrize(("status", "result", "vote", "cause"), VOTES.values(), ids=VOTES.keys())
def test_a_status_amounts_to_the_vote_of_its_row(status: str, result: object, vote: Vote, cause: Cause | None) -> None:
    ballot = ballot_of(GID, status, result)
    assert (ballot.vote, ballot.cause) == (vote, cause), ballot
    assert (ballot.branch, ballot.status) == (GID.branch, status)


def test_a_refusal_keeps_its_words_and_its_field() -> None:
    ballot = no_ballot("products.take_stock", Refused("insufficient_stock", "Too little.", "lines.1.quantity"))
    assert ballot.as_cause() == {
        "branch": "products.take_stock",
        "cause": "refused",
        "reason": "insufficient_stock",
        "detail": "Too little.",
        "field": "lines.1.quantity",
    }


def test_a_refusal_without_words_is_still_a_refusal() -> None:
    assert ballot_of(GID, "REVOKED", None).as_cause()["reason"] == "revoked"
    assert ballot_of(GID, "PENDING", None).as_cause()["cause"] == "silence"


def test_the_words_of_an_unexpected_error_are_kept_short() -> None:
    ballot = no_ballot("orders.x", RuntimeError("e" * 10_000))
    assert ballot.reason == "RuntimeError"
    assert len(ballot.detail or "") == 2000


def test_a_defect_keeps_its_name_and_its_words() -> None:
    ballot = no_ballot("orders.x", Defect("NotNullViolation", "null value in column"))
    assert (ballot.reason, ballot.detail) == ("NotNullViolation", "null value in column")


@pytest.mark.parametrize("state", ["0A000", "22003", "23502", "23503", "23505", "23514", "42703", "42501", "P0001"])
def test_what_a_database_answers_again_however_often_it_is_asked_is_a_defect(state: str) -> None:
    assert is_defect(database_error(state))


@pytest.mark.parametrize(
    "state", ["40001", "55P03", "57014", "53100", "58030", "XX000", "26000", "57P01", "08006", "25006"]
)
def test_what_may_pass_is_no_defect(state: str) -> None:
    assert not is_defect(database_error(state))


@pytest.mark.parametrize(
    "error", [OSError("no route"), RuntimeError("no thread"), MemoryError(), Conflict("x"), Lost("x")]
)
def test_what_the_world_does_is_no_defect_of_the_program(error: Exception) -> None:
    assert not is_defect(error)


# ---- a defect that was met beside others


def test_a_defect_beside_others_is_only_a_failure_until_it_is_met_alone() -> None:
    words = Ballot("b", Vote.NO, "FAILURE", Cause.DEFECT, "KeyError").as_cause()
    for ballot in (
        Ballot("b", Vote.NO, "FAILURE", Cause.DEFECT),
        no_ballot("b", MembersSaidNo({"a": words})).of_member("a"),
        no_ballot("b", MembersSaidNo({"a": words})),
    ):
        beside = ballot.beside_others()
        assert beside.cause is not Cause.DEFECT
        assert all(member.cause is Cause.FAILED for _, member in beside.members)


# ---- what a vote means to each of those who share the attempt


def said(branch: str, cause: Cause) -> dict[str, str | None]:
    return Ballot(branch, Vote.NO, "FAILURE", cause, "a_word").as_cause()


def of_member(ballots: list[Ballot], member: str) -> list[tuple[str, Vote, Cause | None]]:
    return [(ballot.branch, ballot.vote, ballot.cause) for ballot in ballots_of_member(ballots, member)]


def test_a_yes_says_whom_it_has_dropped_and_what_comes_behind_is_not_about_them() -> None:
    first = ballot_of(GID, "SUCCESS", {**proof(GID), "dropped": {"a": said(GID.branch, Cause.CONFLICT)}})
    for second in (
        ballot_of(OTHER_BRANCH, "SUCCESS", proof(GID, OTHER_BRANCH)),
        ballot_of(OTHER_BRANCH, "FAILURE", Refused("no_room", "It is full.")),
        ballot_of(OTHER_BRANCH, "PENDING", None),
    ):
        assert first.vote is Vote.YES
        assert of_member([first, second], "a") == [(GID.branch, Vote.NO, Cause.CONFLICT)]
        assert ballots_of_member([first, second], "b") == [first, second]


def test_a_later_link_repeats_whom_the_first_has_dropped_and_they_are_still_told_by_the_first() -> None:
    dropped = {"dropped": {"a": said(GID.branch, Cause.REFUSED)}}
    ballots = [
        ballot_of(GID, "SUCCESS", {**proof(GID), **dropped}),
        ballot_of(OTHER_BRANCH, "SUCCESS", {**proof(GID, OTHER_BRANCH), **dropped}),
    ]
    assert of_member(ballots, "a") == [(GID.branch, Vote.NO, Cause.REFUSED)]


def test_a_no_of_single_ones_is_their_own_and_for_the_others_it_is_beside() -> None:
    yes = ballot_of(GID, "SUCCESS", proof(GID))
    no = ballot_of(OTHER_BRANCH, "FAILURE", MembersSaidNo({"a": said(OTHER_BRANCH.branch, Cause.REFUSED)}))
    assert of_member([yes, no], "a")[1] == (OTHER_BRANCH.branch, Vote.NO, Cause.REFUSED)
    assert of_member([yes, no], "b")[1] == (OTHER_BRANCH.branch, Vote.NO, Cause.BESIDE)
    assert dict(no.members)["a"].reason == "a_word"


# ---- the decision table

YES = Ballot("b", Vote.YES, "SUCCESS")
SILENT = Ballot("b", Vote.SILENT, "PENDING", Cause.SILENCE, "silence")
REFUSED = Ballot("b", Vote.NO, "FAILURE", Cause.REFUSED, "no_room")
REVOKED = Ballot("b", Vote.NO, "REVOKED", Cause.REVOKED, "revoked")
CONFLICT = Ballot("b", Vote.NO, "FAILURE", Cause.CONFLICT)
LOST = Ballot("b", Vote.NO, "FAILURE", Cause.LOST)
FAILED = Ballot("b", Vote.NO, "FAILURE", Cause.FAILED)
DEFECT = Ballot("b", Vote.NO, "FAILURE", Cause.DEFECT)
FINAL = (REFUSED, REVOKED, DEFECT)
EVERY_BALLOT = (YES, SILENT, REFUSED, REVOKED, CONFLICT, LOST, FAILED, DEFECT)


def when(*, attempt: int = 1, patience_over: bool = False, deadline_over: bool = False) -> Situation:
    return Situation(attempt, patience_over, deadline_over, failed_attempts_limit=3)


FRESH, LATE, TOO_LATE = when(), when(patience_over=True), when(patience_over=True, deadline_over=True)
EVERY_SITUATION = [
    when(attempt=attempt, patience_over=patience, deadline_over=deadline)
    for attempt, patience, deadline in itertools.product((1, 2, 3, 4), (False, True), (False, True))
]

DECISIONS = {
    # a no, refused, revoked or a defect      ABORT
    "refused": ([REFUSED], FRESH, Decision.ABORT),
    "revoked": ([REVOKED], FRESH, Decision.ABORT),
    "defect": ([DEFECT], FRESH, Decision.ABORT),
    "defect-after-a-conflict": ([CONFLICT, DEFECT], FRESH, Decision.ABORT),
    "refused-after-a-yes": ([YES, REFUSED], FRESH, Decision.ABORT),
    "refused-after-silence": ([SILENT, REFUSED], FRESH, Decision.ABORT),
    "refused-after-a-conflict": ([CONFLICT, REFUSED], FRESH, Decision.ABORT),
    "refused-after-a-fault": ([FAILED, REFUSED], FRESH, Decision.ABORT),
    # yes from every branch                   COMMIT (also after the deadline)
    "one-yes-of-one": ([YES], FRESH, Decision.COMMIT),
    "yes-from-all-three": ([YES, YES, YES], FRESH, Decision.COMMIT),
    "yes-after-the-patience": ([YES, YES], LATE, Decision.COMMIT),
    "yes-after-the-deadline": ([YES, YES], TOO_LATE, Decision.COMMIT),
    # a no, failed, and attempts used up      ABORT
    "failed-for-the-last-time": ([YES, FAILED], when(attempt=3), Decision.ABORT),
    "failed-beyond-the-last-time": ([FAILED], when(attempt=4), Decision.ABORT),
    # any other no                            RETRY, or ABORT after the deadline
    "failed-for-the-first-time": ([YES, FAILED], FRESH, Decision.RETRY),
    "failed-after-the-deadline": ([FAILED], when(deadline_over=True), Decision.ABORT),
    "conflict": ([YES, CONFLICT], FRESH, Decision.RETRY),
    "conflict-however-often": ([CONFLICT], when(attempt=1000), Decision.RETRY),
    "conflict-after-the-deadline": ([CONFLICT, YES], when(deadline_over=True), Decision.ABORT),
    "lost": ([LOST], when(attempt=9), Decision.RETRY),
    "lost-after-the-deadline": ([LOST], when(deadline_over=True), Decision.ABORT),
    "conflict-copied-to-the-links-behind": ([CONFLICT, CONFLICT], when(attempt=7), Decision.RETRY),
    "conflict-before-silence": ([CONFLICT, SILENT], FRESH, Decision.RETRY),
    # silence within the patience             WAIT
    "silence": ([YES, SILENT], FRESH, Decision.WAIT),
    "silence-of-all": ([SILENT, SILENT], FRESH, Decision.WAIT),
    "silence-within-the-patience-though-the-deadline-is-over": (
        [SILENT],
        when(deadline_over=True),
        Decision.WAIT,
    ),
    # silence after it                        RETRY, or ABORT after the deadline
    "silence-after-the-patience": ([YES, SILENT], LATE, Decision.RETRY),
    "silence-after-the-patience-however-often": ([SILENT], when(attempt=50, patience_over=True), Decision.RETRY),
    "silence-after-the-deadline": ([YES, SILENT], TOO_LATE, Decision.ABORT),
}


@pytest.mark.parametrize(("ballots", "situation", "decision"), DECISIONS.values(), ids=DECISIONS.keys())
def test_votes_amount_to_the_decision_of_their_row(
    ballots: list[Ballot], situation: Situation, decision: Decision
) -> None:
    assert decision_of(ballots, situation) is decision


# ---- what holds for all votes of up to three branches in all situations

EVERY_VOTE = [
    (ballots, situation)
    for branches in range(4)
    for ballots in itertools.product(EVERY_BALLOT, repeat=branches)
    for situation in EVERY_SITUATION
]


def test_a_commit_needs_a_yes_from_every_branch_and_gets_it_from_nothing_less() -> None:
    for ballots, situation in EVERY_VOTE:
        all_yes = bool(ballots) and all(ballot.vote is Vote.YES for ballot in ballots)
        committed = decision_of(ballots, situation) is Decision.COMMIT
        assert committed == all_yes, (ballots, situation)


@pytest.mark.parametrize("situation", EVERY_SITUATION, ids=str)
def test_no_vote_at_all_never_commits(situation: Situation) -> None:
    assert decision_of([], situation) is not Decision.COMMIT


def test_a_final_no_is_never_retried_and_never_waited_for() -> None:
    for ballots, situation in EVERY_VOTE:
        if any(ballot in FINAL for ballot in ballots):
            assert decision_of(ballots, situation) is Decision.ABORT, (ballots, situation)


def test_after_the_deadline_nothing_is_tried_again() -> None:
    for ballots, situation in EVERY_VOTE:
        if situation.deadline_over:
            assert decision_of(ballots, situation) is not Decision.RETRY, (ballots, situation)


def test_a_no_is_acted_on_at_once() -> None:
    for ballots, situation in EVERY_VOTE:
        if any(ballot.vote is Vote.NO for ballot in ballots):
            decision = decision_of(ballots, situation)
            assert decision in (Decision.ABORT, Decision.RETRY), (ballots, situation)


def test_nobody_waits_when_patience_is_over() -> None:
    for ballots, situation in EVERY_VOTE:
        if situation.patience_over:
            assert decision_of(ballots, situation) is not Decision.WAIT, (ballots, situation)


# ---- the ballot that explains an abort

DECIDING = {
    "nobody-voted": ([], None),
    "all-said-yes": ([YES, YES], None),
    "the-only-no": ([YES, CONFLICT], 1),
    "the-first-no": ([CONFLICT, FAILED], 0),
    "the-final-no-before-an-earlier-passing-one": ([CONFLICT, REFUSED], 1),
    "the-first-final-no": ([REFUSED, REVOKED], 0),
    "a-no-before-an-earlier-silence": ([SILENT, LOST], 1),
    "the-first-silence-where-nobody-said-no": ([YES, SILENT, SILENT], 1),
}


@pytest.mark.parametrize(("ballots", "position"), DECIDING.values(), ids=DECIDING.keys())
def test_an_abort_is_explained_by_the_first_final_no_else_the_first_no_else_the_first_silence(
    ballots: list[Ballot], position: int | None
) -> None:
    expected = None if position is None else ballots[position]
    assert deciding_ballot(ballots) is expected


def test_every_decision_against_a_transaction_has_an_explanation() -> None:
    for ballots, situation in EVERY_VOTE:
        if ballots and decision_of(ballots, situation) in (Decision.ABORT, Decision.RETRY):
            found = deciding_ballot(ballots)
            assert found is not None, (ballots, situation)
            assert found.vote is not Vote.YES, (ballots, situation)
