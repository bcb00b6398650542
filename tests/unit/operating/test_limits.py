"""Limits: every wait is bounded, each bound can be set by the environment, and a bad setting says which it is."""

from __future__ import annotations

from dataclasses import fields

import pytest

from atomic_commit.limits import Limits

NAMES = [field.name for field in fields(Limits)]


@pytest.mark.parametrize("name", NAMES)
def test_each_limit_is_set_by_its_variable(name: str) -> None:
    value = getattr(Limits(), name) + 1
    limits = Limits.from_environment({f"ATOMIC_{name.upper()}": str(value)})
    assert getattr(limits, name) == value
    assert type(getattr(limits, name)) is type(getattr(Limits(), name))
    assert all(getattr(limits, other) == getattr(Limits(), other) for other in NAMES if other != name)


def test_an_empty_variable_is_no_setting() -> None:
    assert Limits.from_environment({"ATOMIC_DEADLINE": ""}) == Limits()


def test_other_variables_are_not_looked_at() -> None:
    assert Limits.from_environment({"DEADLINE": "1", "ATOMIC_COLOUR": "red"}) == Limits()


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("ATOMIC_DEADLINE", "soon"),
        ("ATOMIC_LOCK_TIMEOUT", "2s"),
        ("ATOMIC_FAILED_ATTEMPTS", "2.5"),
        ("ATOMIC_PATIENCE", "0"),
        ("ATOMIC_BACKOFF", "-1"),
        ("ATOMIC_PATIENCE", "nan"),
        ("ATOMIC_LOCK_TIMEOUT", "inf"),
    ],
)
def test_a_bad_setting_is_named(variable: str, text: str) -> None:
    with pytest.raises(ValueError, match=variable):
        Limits.from_environment({variable: text})


def test_patience_doubles_with_each_silent_attempt_up_to_its_cap() -> None:
    limits = Limits(patience=5.0, patience_cap=30.0)
    assert [limits.patience_after(silent) for silent in (0, 1, 2, 3, 4, 10_000)] == [5, 10, 20, 30, 30, 30]


def test_pauses_grow_and_stay_between_half_and_all_of_their_ceiling() -> None:
    limits = Limits(backoff=0.1, backoff_cap=5.0)
    for count, ceiling in ((0, 0.1), (1, 0.2), (3, 0.8), (6, 5.0), (10_000, 5.0)):
        pauses = [limits.pause(count) for _ in range(100)]
        assert ceiling / 2 <= min(pauses), count
        assert max(pauses) <= ceiling, count


def test_rivals_do_not_pause_in_step() -> None:
    assert len({Limits().pause(3) for _ in range(50)}) > 1


@pytest.mark.parametrize(
    ("transactions", "rows", "deadline"),
    [(7 * 86400, 7 * 86400, 600), (7 * 86400, 14 * 86400, 600), (10, 1219, 600), (10, 30, 600), (10, 30, 5.5)],
)
def test_branch_rows_that_could_go_before_the_last_message_are_refused(
    transactions: float, rows: float, deadline: float
) -> None:
    given = {
        "ATOMIC_KEEP_TRANSACTIONS": str(transactions),
        "ATOMIC_KEEP_BRANCH_ROWS": str(rows),
        "ATOMIC_DEADLINE": str(deadline),
    }
    with pytest.raises(ValueError, match="ATOMIC_KEEP_BRANCH_ROWS") as refusal:
        Limits.from_environment(given)
    assert all(variable in str(refusal.value) for variable in given)


def test_ages_that_are_far_enough_apart_are_taken() -> None:
    limits = Limits(keep_transactions=10, keep_branch_rows=1220, deadline=600)
    assert limits.message_lifetime == 610


def test_a_message_lives_longer_than_the_deadline_and_ends_well_before_the_branch_row() -> None:
    for limits in (
        Limits(),
        Limits(keep_branch_rows=365 * 86400.0),
        Limits(keep_transactions=1, keep_branch_rows=1300),
    ):
        assert limits.deadline < limits.message_lifetime <= limits.keep_branch_rows / 2
        assert limits.message_lifetime * 1000 < 2**32, "what RabbitMQ can count"
