"""Who stands in line: when they go and in which order, also where several form attempts or begin at the same moment."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa
from eager_line import all_placed, all_removed, answer_rollbacks, attempts_of, attempts_within, ends, prepare_together
from eager_shop import LIMITS, EagerShop
from eager_steps import give_up
from sqlalchemy.orm import Session

from atomic_commit import TransactionRecord, journal
from atomic_commit.coordinator import attempts, decide
from atomic_commit.wire.hand_over import Answer
from orders_service.place_order import place_order
from users_service.remove_user import remove_user

_BLOCKED = "SELECT count(*) FROM pg_stat_activity WHERE cardinality(pg_blocking_pids(pid)) > 0"


@pytest.fixture
def users(shop: EagerShop) -> list[int]:
    return [shop.add_user(f"User{number}") for number in range(5)]


@pytest.fixture
def tried(shop: EagerShop, user: int) -> TransactionRecord:
    """A removal whose first attempt was given up and is settled: it waits for the second."""
    removal = shop.begin("users", "remove_user", user_id=user)
    give_up(shop, removal)
    removal = shop.record("users", removal.id)
    assert (removal.attempt, removal.waiting) == (2, True)
    return removal


# ---- whose turn it is


def test_two_who_form_attempts_at_the_same_moment_form_no_more_than_are_allowed(
    shop: EagerShop, users: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Locks on the rows alone would not do: there are enough others, and each would count the attempts too early."""
    all_removed(shop, users)
    forms = attempts_within(shop, "users", attempts_at_once=1, attempt_size=2)
    formed: list[Any] = []
    other = threading.Thread(target=lambda: formed.append(forms.next(remove_user)))

    def meanwhile(point: str, _: Any = None) -> None:
        if point == "attempt.before_commit" and not other.ident:
            other.start()
            while other.is_alive() and not shop.query("users", _BLOCKED)[0][0]:
                time.sleep(0.005)

    monkeypatch.setattr(attempts, "reach", meanwhile)
    first = forms.next(remove_user)
    other.join()
    assert first is not None
    assert len(first.members) == 2
    assert formed == [None]
    shop.recover()


def test_of_two_who_begin_at_the_same_moment_one_takes_the_last_turn(shop: EagerShop) -> None:
    def waits(session: Session, kind: str) -> bool:
        return journal.insert_transaction(
            session,
            transaction := uuid4(),
            kind,
            {},
            None,
            attempts_at_once=LIMITS.attempts_at_once,
            task_ids=shop.atomic("users").messages.task_ids(kinds[kind], transaction, 1),
            deadline=LIMITS.deadline,
            patience=LIMITS.patience,
            look_after=LIMITS.look_after,
        ).waiting

    kinds = {name: replace(remove_user, name=name) for name in ("remove_user", "another_kind")}
    with Session(shop.engines["users"]) as one, Session(shop.engines["users"]) as other:
        assert not waits(one, "remove_user")
        assert waits(other, "remove_user")
        assert not waits(other, "another_kind")
        one.rollback()
        other.rollback()
        assert not waits(other, "remove_user")


def test_nobody_overtakes_those_who_stand_in_line(shop: EagerShop, users: list[int]) -> None:
    begun = all_removed(shop, users[:2])
    begun.append(shop.begin("users", "remove_user", user_id=users[2]))
    assert begun[2].waiting
    assert list(attempts_of(shop, "users", begun).values()) == [3]
    shop.recover()


def test_an_attempt_counts_as_one_however_many_share_it(shop: EagerShop, users: list[int]) -> None:
    all_removed(shop, users[: LIMITS.attempts_at_once])
    with shop.post.loses():
        shop.dispatch("users", "remove_user")
    assert not shop.begin("users", "remove_user", user_id=users[-1]).waiting
    shop.recover()


@pytest.mark.loud
def test_what_is_quarantined_takes_no_turn(shop: EagerShop, users: list[int]) -> None:
    quarantined = [shop.begin("users", "remove_user", user_id=id) for id in users[: LIMITS.attempts_at_once]]
    for record in quarantined:
        shop.atomic("users").coordinator.quarantine(record.id, "look at it")
    assert not shop.begin("users", "remove_user", user_id=users[-1]).waiting
    release(shop, *quarantined)
    shop.recover()


@pytest.mark.loud
def test_what_is_quarantined_while_it_stands_in_line_stays_there(shop: EagerShop, users: list[int]) -> None:
    begun = all_removed(shop, users[:3])
    shop.atomic("users").coordinator.quarantine(begun[1].id, "look at it")
    shop.sweep()
    assert [str(shop.record("users", record.id).state) for record in begun] == ["committed", "preparing", "committed"]
    release(shop, begun[1])
    shop.recover()


@pytest.mark.loud
def test_the_last_answer_of_an_old_attempt_releases_nobody_who_is_quarantined(
    shop: EagerShop, users: list[int]
) -> None:
    """They stand in line for the next one; that they may go is for a person to say."""
    begun = all_removed(shop, users[:2])
    with shop.post.loses():
        shop.dispatch("users", "remove_user")
        shop.time_passes(6)
        shop.sweep()
    assert all(shop.record("users", record.id).waiting for record in begun)
    shop.atomic("users").coordinator.quarantine(begun[0].id, "look at it")
    answer_rollbacks(shop)
    shop.time_passes(6)
    shop.sweep()
    assert all(shop.record("users", record.id).quarantined for record in begun), shop.tell()
    release(shop, begun[0])
    shop.recover()
    assert {state for state, _ in ends(shop, "users", begun)} == {"committed"}


# ---- silence


def silent_removals(shop: EagerShop, users: list[int]) -> list[TransactionRecord]:
    """Removals that have all been silent once, and each of which takes a place again. Their chains are lost."""
    with shop.post.loses():
        begun = [shop.begin("users", "remove_user", user_id=id) for id in users]
        shop.time_passes(6)
        shop.sweep()
        shop.query("users", "UPDATE transactions SET alone = true")
        answer_rollbacks(shop)
        shop.time_passes(6)
        shop.sweep()
    assert [shop.record("users", record.id).silent_attempts for record in begun] == [1] * len(users)
    assert not any(shop.record("users", record.id).waiting for record in begun), shop.tell()
    return begun


def test_silent_attempts_do_not_keep_others_of_their_kind_from_going(shop: EagerShop, users: list[int]) -> None:
    """Their workers may die of what they do. Whoever comes meanwhile is no part of that."""
    silent = silent_removals(shop, users[: LIMITS.attempts_at_once])
    for user in users[LIMITS.attempts_at_once :]:
        shop.remove_user(user).expect(200)
    assert [str(shop.record("users", record.id).state) for record in silent] == ["preparing"] * len(silent)
    shop.recover()


def test_those_who_stand_in_line_do_not_wait_for_the_silent_either(shop: EagerShop, users: list[int]) -> None:
    silent_removals(shop, users[: LIMITS.attempts_at_once])
    others = all_removed(shop, users[LIMITS.attempts_at_once :])
    shop.dispatch("users", "remove_user")
    assert ends(shop, "users", others) == [("committed", 1)] * len(others)
    shop.recover()


def test_the_silent_have_no_more_places_than_the_others(shop: EagerShop, users: list[int]) -> None:
    silent = silent_removals(shop, users[: LIMITS.attempts_at_once])
    with shop.post.loses():
        late = shop.begin("users", "remove_user", user_id=users[-1])
        shop.time_passes(3)
        shop.query("users", "UPDATE transactions SET patience_until = clock_timestamp() WHERE id = :id", id=late.id)
        shop.sweep()
        answer_rollbacks(shop)
        shop.query("users", "UPDATE transactions SET waits_until = clock_timestamp() WHERE id = :id", id=late.id)
        shop.dispatch("users", "remove_user")
    assert shop.record("users", late.id).silent_attempts == 1
    assert shop.record("users", late.id).waiting
    assert not any(shop.record("users", record.id).waiting for record in silent)
    shop.recover()


def test_who_was_silent_shares_no_attempt_with_who_was_not(shop: EagerShop, users: list[int]) -> None:
    with shop.post.loses():
        silent = shop.begin("users", "remove_user", user_id=users[0])
        shop.time_passes(6)
        shop.sweep()
        others = all_removed(shop, users[1:3])
        shop.query("users", "UPDATE transactions SET waits_until = clock_timestamp() WHERE waits_until IS NOT NULL")
        answer_rollbacks(shop)  # the last answer lets all of them go
        shop.dispatch("users", "remove_user")
    assert not any(shop.record("users", record.id).waiting for record in (silent, *others))
    assert attempts_of(shop, "users", [silent]).keys().isdisjoint(attempts_of(shop, "users", others))
    shop.recover()


def test_while_nobody_answers_no_more_and_more_attempts_are_sent(shop: EagerShop) -> None:
    """A participant is away for six minutes and two requests come every nine seconds. What nobody takes must not pile
    up; and the two attempts that are under way are there for it to answer when it is back."""
    with shop.post.loses():
        for number in range(40):
            for half in "ab":
                shop.begin("users", "remove_user", user_id=shop.add_user(f"User{number}{half}"))
            shop.time_passes(9)
            shop.sweep()
            answer_rollbacks(shop)
        [(sent,)] = shop.query(
            "users", "SELECT count(*) FROM (SELECT DISTINCT transaction_id, attempt FROM transaction_branches) AS sent"
        )
    assert sent < 70, "one for each place every time would be 80, and those of the silent"
    shop.recover(rounds=60)


def release(shop: EagerShop, *records: TransactionRecord) -> None:
    for record in records:
        with Session(shop.engines["users"]) as session, session.begin():
            assert journal.release(session, record.id)


# ---- in which order, and with whom


def test_who_waits_longest_is_among_the_next_that_go(
    shop: EagerShop, users: list[int], engines_that_read_as_rows_lie: dict[str, sa.Engine]
) -> None:
    begun = all_removed(shop, users)
    shop.query(
        "users", "UPDATE transactions SET waits_until = waits_until - interval '9 s' WHERE id = :id", id=begun[3].id
    )
    attempt = attempts_within(shop, "users", engines_that_read_as_rows_lie["users"], attempt_size=1).next(remove_user)
    assert attempt is not None
    assert [member.id for member in attempt.members] == [begun[3].id]
    shop.recover()


def test_the_oldest_of_an_attempt_are_served_first_however_their_rows_lie(
    shop: EagerShop, user: int, engines_that_read_as_rows_lie: dict[str, sa.Engine]
) -> None:
    teapot = shop.add_product(stock=10)
    begun = all_placed(shop, *[(user, {teapot: 1})] * 6)
    for record in reversed(begun):  # a row that is updated moves behind all others
        shop.query("orders", "UPDATE transactions SET error = error WHERE id = :id", id=record.id)
    attempt = attempts_within(shop, "orders", engines_that_read_as_rows_lie["orders"]).next(place_order)
    assert attempt is not None
    assert [member.id for member in attempt.members] == [record.id for record in begun]
    shop.recover()


@pytest.mark.parametrize("place", [0, 1, 2])
def test_one_that_has_to_go_alone_does_wherever_it_stands(shop: EagerShop, users: list[int], place: int) -> None:
    begun = all_removed(shop, users[:3])
    shop.query("users", "UPDATE transactions SET alone = true WHERE id = :id", id=begun[place].id)
    with shop.post.loses():
        shop.dispatch("users", "remove_user")
    alone = begun.pop(place)
    assert not shop.record("users", alone.id).waiting
    assert attempts_of(shop, "users", [alone]).keys().isdisjoint(attempts_of(shop, "users", begun))
    assert list(attempts_of(shop, "users", begun).values()) == [2]
    shop.recover()


def test_one_whose_row_is_held_by_somebody_does_not_keep_the_others_in_line(shop: EagerShop, users: list[int]) -> None:
    begun = all_removed(shop, users[:3])
    with shop.locked("users", "SELECT 1 FROM transactions WHERE id = :id FOR UPDATE", id=begun[0].id):
        shop.dispatch("users", "remove_user")
        assert ends(shop, "users", begun[1:]) == [("committed", 1)] * 2
    shop.recover()


def test_who_was_in_what_could_not_be_sent_is_not_joined_by_those_who_came_later(
    shop: EagerShop, users: list[int]
) -> None:
    """The broker may have taken the chain after all: another one under the same identifiers must say the same."""
    early = all_removed(shop, users[:3])
    with shop.post.refuses():
        shop.dispatch("users", "remove_user")
    before = attempts_of(shop, "users", early)
    late = all_removed(shop, users[3:])
    with shop.post.loses():
        shop.time_passes(2)
        shop.sweep()
    assert attempts_of(shop, "users", early) == before
    assert before.keys().isdisjoint(attempts_of(shop, "users", late))
    shop.recover()


# ---- the last attempt has to be over


def test_those_who_followed_wait_too_until_what_they_shared_is_settled(shop: EagerShop, users: list[int]) -> None:
    begun = all_removed(shop, users[:3])
    with shop.post.loses():
        shop.dispatch("users", "remove_user")
        shop.time_passes(6)
        shop.sweep()
        assert all(shop.record("users", record.id).waiting for record in begun)
        shop.time_passes(6)
        with Session(shop.engines["users"]) as session:
            assert journal.claim_waiting(session, "remove_user", attempts_at_once=4, size=64) == []
        answer_rollbacks(shop)
    assert not any(shop.record("users", record.id).waiting for record in begun), "the last answer lets them go"
    shop.recover()


def test_a_late_yes_to_what_was_given_up_commits_nobody(shop: EagerShop, users: list[int]) -> None:
    begun = all_removed(shop, users[:3])
    with shop.post.loses():
        shop.dispatch("users", "remove_user")
        leader = shop.record("users", begun[0].id).led_by[0]
        handed_on = prepare_together(shop, "users", begun)
        give_up(shop, shop.record("users", leader))
        shop.atomic("users").coordinator.decide(leader, 1, handed_on)
    assert [str(shop.record("users", record.id).state) for record in begun] == ["preparing"] * 3
    shop.recover()
    assert ends(shop, "users", begun) == [("committed", 2)] * 3


def test_one_who_had_counted_the_votes_before_it_was_given_up_commits_nobody(
    shop: EagerShop, users: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = all_removed(shop, users[:3])
    with shop.post.loses():
        shop.dispatch("users", "remove_user")
        leader = shop.record("users", begun[0].id).led_by[0]
        handed_on = prepare_together(shop, "users", begun)

        def meanwhile(point: str, _: Any = None) -> None:
            if point == "decide.before_update":
                give_up(shop, shop.record("users", leader))

        with monkeypatch.context() as patched:
            patched.setattr(decide, "reach", meanwhile)
            shop.atomic("users").coordinator.decide(leader, 1, handed_on)
    assert [str(shop.record("users", record.id).state) for record in begun] == ["preparing"] * 3
    assert all(shop.record("users", record.id).waiting for record in begun)
    shop.recover()
    assert ends(shop, "users", begun) == [("committed", 2)] * 3


def test_an_old_answer_to_one_that_led_does_not_settle_what_it_follows_now(shop: EagerShop, users: list[int]) -> None:
    begun = all_removed(shop, users[:2])
    with shop.post.loses():
        shop.dispatch("users", "remove_user")
    leader = shop.record("users", begun[0].id).led_by[0]
    follower = next(record for record in begun if record.id != leader)
    old = shop.gids(shop.record("users", leader))[0]
    give_up(shop, shop.record("users", leader))
    shop.query(
        "users", "UPDATE transactions SET waits_until = waits_until - interval '9 s' WHERE id = :id", id=follower.id
    )
    with shop.post.loses():
        shop.time_passes(6)
        shop.dispatch("users", "remove_user")
        assert shop.record("users", leader).led_by == (follower.id, 2)
        handed_on = prepare_together(shop, "users", [follower, *begun])
        shop.atomic("users").coordinator.decide(follower.id, 2, handed_on)
        shop.atomic("users").coordinator.acknowledge(leader, 1, old.branch, Answer.ROLLED_BACK)
    assert shop.record("users", leader).decided
    assert shop.record("users", leader).settled_at is None
    shop.recover()


# ---- the deadline


def test_whoever_stood_in_line_past_the_deadline_has_time_for_another_try(
    shop: EagerShop, user: int, teapot: int
) -> None:
    begun = all_placed(shop, (user, {teapot: 1}), (user, {teapot: 2}))
    shop.deadline_passes()
    with shop.locked("products", "SELECT 1 FROM products FOR UPDATE"):
        shop.dispatch("orders", "place_order")
    shop.recover()
    assert [state for state, _ in ends(shop, "orders", begun)] == ["committed"] * 2


def test_a_second_attempt_is_no_reason_for_a_later_deadline(shop: EagerShop, tried: TransactionRecord) -> None:
    shop.query("users", "UPDATE transactions SET deadline = clock_timestamp() + interval '10 s'")
    shop.time_passes_for("users", tried.id, 6)
    before = shop.record("users", tried.id).deadline
    attempt = attempts_within(shop, "users").next(remove_user)
    assert attempt is not None
    assert attempt.members[0].deadline == before
    shop.recover()


def test_one_that_comes_too_late_is_aborted_by_recovery_where_its_dispatcher_died(
    shop: EagerShop, tried: TransactionRecord, user: int
) -> None:
    shop.deadline_passes()
    shop.time_passes(6)
    attempt = attempts_within(shop, "users").next(remove_user)
    assert attempt is not None
    assert attempt.branches == ()
    shop.recover()
    assert ends(shop, "users", [tried]) == [("aborted", 2)]
    assert shop.status_of_user(user) == "active"


@pytest.mark.parametrize("place", [0, 1])
def test_one_that_comes_too_late_is_no_reason_to_abort_those_behind_or_before_it(
    shop: EagerShop, users: list[int], place: int
) -> None:
    begun = all_removed(shop, users[:2])
    with shop.post.loses():
        shop.dispatch("users", "remove_user")
    shop.time_passes(6)
    shop.sweep()
    assert all(shop.record("users", record.id).waiting for record in begun)
    late, other = begun[place], begun[1 - place]
    shop.query("users", "UPDATE transactions SET deadline = clock_timestamp() WHERE id = :id", id=late.id)
    shop.time_passes_for("users", begun[0].id, 9)
    shop.time_passes_for("users", begun[1].id, 6)
    shop.dispatch("users", "remove_user")
    assert ends(shop, "users", [late, other]) == [("aborted", 2), ("committed", 2)]
