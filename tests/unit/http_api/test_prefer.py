"""`Prefer` (RFC 7240): the table of `http_api.prefer`, row by row, then what its grammar allows."""

from __future__ import annotations

import dataclasses

import pytest

from http_api.prefer import Preference, parse
from http_api.problems import ProblemError

NOTHING_ASKED = Preference(wait=5.0, respond_async=False, applied=None)
AT_ONCE = Preference(0.0, True, "respond-async")


def waits(seconds: int) -> Preference:
    return Preference(float(seconds), False, f"wait={seconds}")


@pytest.mark.parametrize(
    ("headers", "preference"),
    [
        ([], NOTHING_ASKED),
        (["wait=10"], waits(10)),
        (["wait=0"], waits(0)),
        (["respond-async"], AT_ONCE),
        (["respond-async, wait=10"], Preference(10.0, True, "respond-async, wait=10")),
        (["wait=10, respond-async"], Preference(10.0, True, "respond-async, wait=10")),
        (["wait=30"], waits(30)),
        (["wait=31"], waits(30)),
        (["wait=" + "9" * 5000], waits(30)),
    ],
)
def test_the_request_says_how_long_to_wait(headers: list[str], preference: Preference) -> None:
    assert parse(headers) == preference


@pytest.mark.parametrize(
    ("headers", "preference"),
    [
        ([""], NOTHING_ASKED),
        ([" , ,, "], NOTHING_ASKED),
        (["WAIT=7"], waits(7)),
        (["Respond-Async"], AT_ONCE),
        (['wait="7"'], waits(7)),
        (['wait="\\7"'], waits(7)),
        (["wait = 7"], waits(7)),
        (["wait=7; anything; priority=3"], waits(7)),
        (['wait=7;x="a, wait=9; b"'], waits(7)),
        (["\twait=7 ,"], waits(7)),
        (["wait=7", "respond-async"], Preference(7.0, True, "respond-async, wait=7")),
        (["handling=lenient", "wait=7"], waits(7)),
        (['return=representation; x="\\"", wait=7'], waits(7)),
    ],
)
def test_every_way_to_write_it_is_read(headers: list[str], preference: Preference) -> None:
    assert parse(headers) == preference


@pytest.mark.parametrize(
    "headers",
    [["wait=7, wait=9"], ["wait=7", "wait=9"], ["wait=7, wait=abc"], ["wait=7", "wait"]],
)
def test_the_first_of_two_wins(headers: list[str]) -> None:
    assert parse(headers) == waits(7)


@pytest.mark.parametrize(
    "header", ["handling=strict", "return=minimal", "depth-noroot", "x-wait=abc", 'odd="äöü, wait=1"', "odd="]
)
def test_a_preference_that_is_not_ours_is_ignored(header: str) -> None:
    assert parse([header]) == NOTHING_ASKED


@pytest.mark.parametrize(
    "header",
    [
        "wait=abc",
        "wait=-1",
        "wait",
        "wait=",
        'wait=""',
        "wait=2.5",
        "wait=+1",
        "wait=1e1",
        "wait=٣",
        'wait="1',
        'wait="1\\"',
        'odd="unterminated, wait=1',
        "wait=1 wait=2",
        "wait=1=2",
        "=1",
        ";",
        "wait:1",
        "respond-async/1",
        "wait=1\x00",
        "a" + " ;" * 5000 + '"',
    ],
)
def test_what_cannot_be_read_is_the_clients_error(header: str) -> None:
    with pytest.raises(ProblemError) as caught:
        parse([header])
    problem = caught.value
    assert (problem.type.name, problem.status) == ("invalid-header", 400)
    assert [(error["in"], error["field"]) for error in problem.extensions["errors"]] == [("header", "Prefer")]


def test_the_answer_says_what_was_applied_only_when_something_was() -> None:
    assert parse(["wait=99"]).headers == {"Preference-Applied": "wait=30"}
    assert parse([]).headers == {}


def test_a_preference_is_a_value() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        NOTHING_ASKED.wait = 1.0  # type: ignore[misc]
