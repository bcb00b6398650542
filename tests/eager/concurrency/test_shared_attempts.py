"""Transactions that share an attempt: who goes with whom, and that each of them ends as it would have ended alone."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from eager_line import all_placed, all_removed, answer_rollbacks, attempts_of, ends, reason
from eager_shop import LIMITS, EagerShop, message
from sqlalchemy.orm import Session

from atomic_commit import TransactionRecord, journal
from atomic_commit.coordinator import decide
from atomic_commit.journal import records
from users_service.remove_user import remove_user


@pytest.fixture
def customers(shop: EagerShop, teapot: int) -> list[int]:
    """Five users, each with an open order of one of the ten teapots."""
    ids = [shop.add_user(f"User{number}") for number in range(5)]
    for id in ids:
        shop.place_order(id, {teapot: 1})
    return ids


# ---- who goes with whom


def test_who_waits_goes_together_with_one_prepared_transaction_in_each_service(
    shop: EagerShop, customers: list[int], teapot: int
) -> None:
    begun = all_removed(shop, customers)
    before = shop.query("products", "SELECT count(*) FROM branch_rows")[0][0]
    shop.dispatch("users", "remove_user")
    assert ends(shop, "users", begun) == [("committed", 1)] * 5
    assert list(attempts_of(shop, "users", begun).values()) == [5]
    assert shop.query("products", "SELECT count(*) FROM branch_rows") == [(before + 1,)]
    assert [shop.status_of_user(id) for id in customers] == [None] * 5
    assert shop.stock_of(teapot) == 10


def test_one_that_comes_to_an_idle_service_goes_at_once_and_by_itself(shop: EagerShop, customers: list[int]) -> None:
    first, second = (shop.begin("users", "remove_user", user_id=id) for id in customers[:2])
    assert not first.waiting
    assert not second.waiting
    assert first.led_by == (first.id, 1)
    assert second.led_by == (second.id, 1)
    shop.recover()


def test_what_comes_while_all_attempts_are_taken_waits_and_goes_when_one_of_them_is_decided(
    shop: EagerShop, teapot: int
) -> None:
    users = [shop.add_user(f"User{number}") for number in range(LIMITS.attempts_at_once + 3)]
    begun = [shop.begin("users", "remove_user", user_id=id) for id in users]
    waiting = begun[LIMITS.attempts_at_once :]
    assert [shop.record("users", record.id).waiting for record in begun] == [False] * LIMITS.attempts_at_once + [
        True
    ] * 3
    first = begun[0]
    shop.atomic("users").coordinator.decide(first.id, 1, shop.prepare_all(first))
    assert ends(shop, "users", [first, *waiting]) == [("committed", 1)] * 4
    assert list(attempts_of(shop, "users", waiting).values()) == [3]
    shop.recover()


def test_an_attempt_is_shared_by_so_many_and_no_more(shop: EagerShop, user: int) -> None:
    teapot = shop.add_product(stock=1000)
    begun = all_placed(shop, *[(user, {teapot: 1})] * (LIMITS.attempt_size + 3))
    shop.dispatch("orders", "place_order")
    assert sorted(attempts_of(shop, "orders", begun).values()) == [3, LIMITS.attempt_size]
    assert ends(shop, "orders", begun) == [("committed", 1)] * len(begun)
    assert shop.stock_of(teapot) == 1000 - len(begun)


def test_whoever_waits_longest_goes_first(shop: EagerShop, user: int) -> None:
    teapot = shop.add_product(stock=1)
    early, late = all_placed(shop, (user, {teapot: 1}), (user, {teapot: 1}))
    shop.dispatch("orders", "place_order")
    shop.recover()
    assert [state for state, _ in ends(shop, "orders", [early, late])] == ["committed", "aborted"]


def test_two_who_dispatch_at_once_form_no_attempt_twice(shop: EagerShop, customers: list[int]) -> None:
    begun = all_removed(shop, customers)
    with shop.post.loses():
        together = [threading.Thread(target=shop.dispatch, args=("users", "remove_user")) for _ in range(4)]
        for thread in together:
            thread.start()
        for thread in together:
            thread.join()
    assert list(attempts_of(shop, "users", begun).values()) == [5]
    shop.recover()


# ---- one of them says no


def test_one_that_the_first_branch_refuses_is_left_out_and_the_others_commit(shop: EagerShop, user: int) -> None:
    teapot = shop.add_product(stock=10)
    begun = all_placed(shop, (user, {teapot: 1}), (999, {teapot: 1}), (user, {teapot: 2}))
    shop.dispatch("orders", "place_order")
    assert ends(shop, "orders", begun) == [("committed", 1), ("aborted", 1), ("committed", 1)]
    assert list(attempts_of(shop, "orders", begun).values()) == [3]
    assert reason(shop, "orders", begun[1]) == "unknown_user"
    assert shop.stock_of(teapot) == 7


def test_one_that_a_later_branch_refuses_is_left_out_where_the_first_only_holds(shop: EagerShop, user: int) -> None:
    teapot = shop.add_product(stock=10)
    begun = all_placed(shop, (user, {teapot: 1}), (user, {teapot: 99}), (user, {teapot: 2}))
    shop.dispatch("orders", "place_order")
    assert ends(shop, "orders", begun) == [("committed", 1), ("aborted", 1), ("committed", 1)]
    assert list(attempts_of(shop, "orders", begun).values()) == [3]
    assert reason(shop, "orders", begun[1]) == "insufficient_stock"
    assert shop.stock_of(teapot) == 7


def test_one_that_a_later_branch_refuses_is_aborted_and_the_others_go_again_without_it(
    shop: EagerShop, customers: list[int], teapot: int, full: int
) -> None:
    """Where the first branch has changed something, nobody can be left out of that."""
    shop.place_order(customers[1], {full: 1})
    begun = all_removed(shop, customers)
    shop.call("products", "PATCH", f"/products/{full}", {"capacity": shop.stock_of(full)}).expect(200)
    shop.dispatch("users", "remove_user")
    others = [("committed", 2)] * 3
    assert ends(shop, "users", begun) == [("committed", 2), ("aborted", 1), *others]
    assert reason(shop, "users", begun[1]) == "no_room"
    assert shop.stock_of(teapot) == 9


@pytest.fixture
def full(shop: EagerShop) -> int:
    return shop.add_product("kettle", stock=10)


def test_those_who_were_rolled_back_because_of_another_go_again_together_and_without_newcomers(
    shop: EagerShop, customers: list[int], full: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of them has been found good. A stranger may be the next whom the warehouse refuses."""
    shop.place_order(customers[1], {full: 1})
    strangers = [shop.add_user(f"Stranger{number}") for number in range(2)]
    for stranger in strangers:
        shop.place_order(stranger, {full: 1})
    early = all_removed(shop, customers)
    shop.call("products", "PATCH", f"/products/{full}", {"capacity": shop.stock_of(full)}).expect(200)
    late: list[TransactionRecord] = []

    def meanwhile(point: str, _: Any = None) -> None:
        if point == "give_up.before_commit" and not late:
            late.extend(all_removed(shop, strangers))

    monkeypatch.setattr(decide, "reach", meanwhile)
    shop.dispatch("users", "remove_user")
    shop.recover()
    others = [("committed", 2)] * 3
    assert ends(shop, "users", early) == [("committed", 2), ("aborted", 1), *others]
    assert attempts_of(shop, "users", early).keys().isdisjoint(attempts_of(shop, "users", late))
    assert ends(shop, "users", late) == [("aborted", 1)] * 2


def test_a_refusal_that_the_others_have_caused_is_none(shop: EagerShop, user: int) -> None:
    """Eight and eight of ten: beside the first the second one gets too little, but the first has not got anything yet
    either. Alone each would be served; so one of them is, and the other is refused because of what is then committed.
    """
    teapot = shop.add_product(stock=10)
    begun = all_placed(shop, (user, {teapot: 8}), (user, {teapot: 8}))
    with shop.post.loses():
        shop.dispatch("orders", "place_order")
    [leader] = {record.led_by for record in (shop.record("orders", one.id) for one in begun)}
    assert leader[1] == 1
    shop.recover()
    assert Counter(state for state, _ in ends(shop, "orders", begun)) == {"committed": 1, "aborted": 1}
    assert shop.stock_of(teapot) == 2


def test_what_is_refused_at_every_branch_by_different_ones_leaves_the_rest(shop: EagerShop, user: int) -> None:
    teapot = shop.add_product(stock=10)
    begun = all_placed(
        shop, (user, {teapot: 99}), (999, {teapot: 1}), (user, {teapot: 1}), (user, {77: 1}), (user, {teapot: 1})
    )
    shop.dispatch("orders", "place_order")
    shop.recover()
    states = [state for state, _ in ends(shop, "orders", begun)]
    assert states == ["aborted", "aborted", "committed", "aborted", "committed"]
    reasons = [reason(shop, "orders", record) for record in begun]
    assert reasons == ["insufficient_stock", "unknown_user", None, "unknown_product", None]


def test_all_of_them_refused_are_all_aborted_in_one_attempt(shop: EagerShop, user: int) -> None:
    teapot = shop.add_product(stock=1)
    begun = all_placed(shop, *[(user, {teapot: quantity}) for quantity in (5, 6, 7)])
    shop.dispatch("orders", "place_order")
    assert ends(shop, "orders", begun) == [("aborted", 1)] * 3
    assert list(attempts_of(shop, "orders", begun).values()) == [3]


def test_one_whose_row_is_held_by_somebody_is_left_out_and_tried_again(shop: EagerShop, customers: list[int]) -> None:
    teapot = shop.add_product(stock=10)
    begun = all_placed(shop, *[(user, {teapot: 1}) for user in customers])
    with shop.locked("users", "SELECT 1 FROM users WHERE id = :id FOR UPDATE", id=customers[2]):
        shop.dispatch("orders", "place_order")
        states = [str(shop.record("orders", record.id).state) for record in begun]
        assert states == ["committed", "committed", "preparing", "committed", "committed"], shop.tell()
    shop.recover()
    assert {state for state, _ in ends(shop, "orders", begun)} == {"committed"}
    assert shop.stock_of(teapot) == 5


def test_one_that_spoils_it_for_the_others_goes_alone_from_then_on(
    shop: EagerShop, customers: list[int], full: int
) -> None:
    """Somebody holds a product's row for long: whose order has that one must not hold up the rest again and again."""
    shop.place_order(customers[1], {full: 1})
    begun = all_removed(shop, customers[:3])
    with shop.locked("products", "SELECT 1 FROM products WHERE id = :id FOR UPDATE", id=full):
        shop.dispatch("users", "remove_user")
        assert [shop.record("users", record.id).alone for record in begun] == [False, True, False]
        assert ends(shop, "users", [begun[0], begun[2]]) == [("committed", 2)] * 2
    shop.recover()
    assert {state for state, _ in ends(shop, "users", begun)} == {"committed"}


def test_an_earlier_member_that_was_left_out_is_not_judged_by_what_came_after_it(shop: EagerShop, user: int) -> None:
    """The first branch leaves one out because of a lock; the last one refuses another. The first is tried again."""
    ada, teapot = shop.add_user("Eve"), shop.add_product(stock=1)
    begun = all_placed(shop, (ada, {teapot: 1}), (user, {teapot: 5}))
    with shop.locked("users", "SELECT 1 FROM users WHERE id = :id FOR UPDATE", id=ada):
        shop.dispatch("orders", "place_order")
        assert [str(shop.record("orders", record.id).state) for record in begun] == ["preparing", "aborted"]
    shop.recover()
    assert [state for state, _ in ends(shop, "orders", begun)] == ["committed", "aborted"]


# ---- the coordinator's own change


@pytest.fixture
def nobody_may_order_seven(shop: EagerShop) -> Any:
    """A defect of the orders service: its table refuses some new rows."""
    shop.query("orders", "ALTER TABLE order_lines ADD CONSTRAINT odd CHECK (quantity <> 7) NOT VALID")
    yield
    shop.query("orders", "ALTER TABLE order_lines DROP CONSTRAINT odd")


@pytest.mark.usefixtures("nobody_may_order_seven")
def test_one_whose_own_change_fails_is_found_by_letting_each_go_alone(shop: EagerShop, user: int) -> None:
    teapot = shop.add_product(stock=100)
    begun = all_placed(shop, *[(user, {teapot: quantity}) for quantity in (1, 7, 2)])
    shop.dispatch("orders", "place_order")
    shop.recover(rounds=30)
    assert [state for state, _ in ends(shop, "orders", begun)] == ["committed", "aborted", "committed"]
    assert list(attempts_of(shop, "orders", begun).values()) == [1, 1, 1]
    assert shop.stock_of(teapot) == 97


@pytest.mark.usefixtures("nobody_may_order_seven")
def test_one_that_got_too_little_because_of_one_that_never_commits_gets_it_in_the_end(
    shop: EagerShop, user: int
) -> None:
    teapot = shop.add_product(stock=10)
    begun = all_placed(shop, (user, {teapot: 7}), (user, {teapot: 8}))
    shop.dispatch("orders", "place_order")
    shop.recover(rounds=30)
    assert [state for state, _ in ends(shop, "orders", begun)] == ["aborted", "committed"]
    assert shop.stock_of(teapot) == 2


def test_one_that_had_no_room_because_of_one_that_never_commits_is_served_in_the_end(
    shop: EagerShop, customers: list[int], teapot: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind a branch that changes something: beside the first there is no room for the second, alone there is."""

    def commit(session: Session, transaction: Any, values: Any) -> Any:
        if values["user_id"] == customers[0]:
            raise RuntimeError("a defect")
        return remove_user.commit(session, transaction, values)

    kinds = shop.atomic("users").coordinator._kinds
    monkeypatch.setitem(kinds, "remove_user", replace(remove_user, commit=commit, commit_batch=None))
    begun = all_removed(shop, customers[:2])
    shop.call("products", "PATCH", f"/products/{teapot}", {"capacity": shop.stock_of(teapot) + 1}).expect(200)
    shop.dispatch("users", "remove_user")
    shop.recover(rounds=30)
    assert [state for state, _ in ends(shop, "users", begun)] == ["aborted", "committed"]


def test_one_whose_mark_cannot_be_taken_back_does_not_keep_the_others_undecided(
    shop: EagerShop, customers: list[int], teapot: int
) -> None:
    """Two cancellations that the warehouse refuses; the order of one is locked by somebody."""
    orders = [next(iter(shop.orders_of(user))) for user in customers]
    shop.call("products", "PATCH", f"/products/{teapot}", {"capacity": 5}).expect(200)
    with shop.all_stand_in_line():
        begun = [shop.begin("orders", "cancel_order", order_id=order) for order in orders[:2]]
    with shop.locked("orders", "SELECT 1 FROM orders WHERE id = :id FOR UPDATE", id=orders[0]):
        shop.dispatch("orders", "cancel_order")
        assert all(shop.record("orders", record.id).attempt > 1 for record in begun), shop.tell()
    shop.recover()
    assert [state for state, _ in ends(shop, "orders", begun)] == ["aborted"] * 2
    assert [shop.status_of_order(order) for order in orders[:2]] == ["open", "open"]


# ---- silence, repetition, rivals


def test_silence_sends_all_of_them_into_another_attempt(shop: EagerShop, customers: list[int], teapot: int) -> None:
    begun = all_removed(shop, customers)
    with shop.post.loses():
        shop.dispatch("users", "remove_user")
    shop.recover()
    assert ends(shop, "users", begun) == [("committed", 2)] * 5
    assert shop.stock_of(teapot) == 10


def test_what_comes_late_of_an_attempt_that_was_given_up_changes_nothing(shop: EagerShop, customers: list[int]) -> None:
    begun = all_removed(shop, customers)
    with shop.post.loses():
        shop.dispatch("users", "remove_user")
    gids = shop.gids(shop.record("users", begun[0].id))
    shop.recover()
    everything = shop.everything()
    leader = gids[0].transaction
    with shop.post.loses():
        shop.atomic("users").coordinator.decide(leader, 1, message(shop.record("users", leader), *gids))
        shop.atomic("users").coordinator.decide(leader, 1)
    for gid in gids:
        shop.participant_of(gid).rollback(gid)
    assert shop.everything() == everything


def test_of_rivals_one_decides_about_all_of_them(shop: EagerShop, customers: list[int], teapot: int) -> None:
    begun = all_removed(shop, customers)
    with shop.post.loses():
        shop.dispatch("users", "remove_user")
    one = shop.record("users", begun[0].id)
    handed_on: Any = {
        "prepared": {},
        "members": {str(record.id): record.values for record in begun},
        "dropped": {},
    }
    for gid in shop.gids(one):
        handed_on = shop.prepare(gid, handed_on)
    coordinator = shop.atomic("users").coordinator
    with shop.post.loses():
        rivals = [threading.Thread(target=coordinator.decide, args=(*one.led_by, handed_on)) for _ in range(4)]
        with Session(shop.engines["users"]) as session:
            attempt = records.read_attempt(session, *one.led_by)
        assert attempt
        rivals += [threading.Thread(target=coordinator.decider.abort, args=(attempt,)) for _ in range(4)]
        for thread in rivals:
            thread.start()
        for thread in rivals:
            thread.join()
    states = {str(shop.record("users", record.id).state) for record in begun}
    assert states in ({"committed"}, {"aborted"})
    shop.recover()
    assert {state for state, _ in ends(shop, "users", begun)} == states
    assert shop.stock_of(teapot) == (10 if states == {"committed"} else 5)


def test_who_is_in_an_attempt_of_which_nothing_was_sent_goes_with_the_same_ones_later(
    shop: EagerShop, customers: list[int]
) -> None:
    """The broker may have taken the chain after all: another one under the same identifiers must say the same."""
    begun = all_removed(shop, customers)
    with shop.post.refuses():
        shop.dispatch("users", "remove_user")
    before = attempts_of(shop, "users", begun)
    shop.time_passes(2)
    shop.sweep()
    assert attempts_of(shop, "users", begun) == before
    assert ends(shop, "users", begun) == [("committed", 1)] * 5


def test_one_that_is_silent_again_and_again_goes_alone(shop: EagerShop, customers: list[int]) -> None:
    """It may be what the workers die of."""
    begun = all_removed(shop, customers)
    with shop.post.loses():
        shop.dispatch("users", "remove_user")
        for _ in range(12):
            shop.time_passes(9)
            shop.sweep()
            answer_rollbacks(shop)
    assert all(shop.record("users", record.id).alone for record in begun), shop.tell()
    shop.recover(rounds=30)
    assert {state for state, _ in ends(shop, "users", begun)} == {"committed"}


# ---- time and trouble


def test_whoever_stood_in_line_past_the_deadline_is_tried_all_the_same(shop: EagerShop, customers: list[int]) -> None:
    begun = all_removed(shop, customers)
    shop.deadline_passes()
    shop.sweep()
    assert ends(shop, "users", begun) == [("committed", 1)] * 5


def test_whoever_was_tried_before_is_not_tried_after_the_deadline(
    shop: EagerShop, customers: list[int], teapot: int
) -> None:
    begun = all_removed(shop, customers)
    with shop.post.loses():
        shop.dispatch("users", "remove_user")
    shop.time_passes(6)
    with shop.post.loses():
        shop.sweep()
    assert {shop.record("users", record.id).attempt for record in begun} == {2}
    shop.deadline_passes()
    shop.recover()
    assert ends(shop, "users", begun) == [("aborted", 2)] * 5
    assert shop.stock_of(teapot) == 5


@pytest.mark.loud
def test_all_of_an_attempt_are_quarantined_together_and_released_together(
    shop: EagerShop, customers: list[int]
) -> None:
    begun = all_removed(shop, customers)
    with shop.post.loses():
        shop.dispatch("users", "remove_user")
    shop.atomic("users").coordinator.quarantine(begun[3].id, "look at it")
    assert all(shop.record("users", record.id).quarantined for record in begun)
    with Session(shop.engines["users"]) as session, session.begin():
        assert journal.release(session, begun[1].id)
    assert not any(shop.record("users", record.id).quarantined for record in begun)
    shop.recover()
    assert {state for state, _ in ends(shop, "users", begun)} == {"committed"}


@pytest.mark.loud
def test_one_of_a_kind_that_nobody_knows_is_quarantined_and_the_others_go(
    shop: EagerShop, customers: list[int]
) -> None:
    begun = all_removed(shop, customers)
    shop.query("users", "UPDATE transactions SET kind = 'refund' WHERE id = :id", id=begun[0].id)
    assert shop.atomic("users").coordinator.dispatch_all()
    assert shop.record("users", begun[0].id).quarantined
    assert ends(shop, "users", begun[1:]) == [("committed", 1)] * 4
    shop.query("users", "UPDATE transactions SET kind = 'remove_user' WHERE id = :id", id=begun[0].id)
    with Session(shop.engines["users"]) as session, session.begin():
        assert journal.release(session, begun[0].id)
    shop.recover()
    assert ends(shop, "users", begun[:1]) == [("committed", 1)]
