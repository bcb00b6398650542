"""Who comes at the same moment begins in one local transaction, and gets the answer that it would get by itself."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import Any

import psycopg2
import pytest
import sqlalchemy as sa
from eager_line import begin_at_once, ends, removals
from eager_shop import EagerShop
from eager_steps import cut_before_the_commit_of_begin, lose_the_answer_to_the_next_commit
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from atomic_commit import Conflict, IdempotencyKey, Missing, Refused, TransactionRecord
from atomic_commit.coordinator import begin_batch
from orders_service.schemas import shown
from users_service.remove_user import remove_user

LOCAL_TRANSACTIONS = "SELECT count(DISTINCT xmin::text) FROM transactions"


@pytest.fixture
def users(shop: EagerShop) -> list[int]:
    return [shop.add_user(f"User{number}") for number in range(3)]


def test_they_begin_in_one_local_transaction_and_end_as_all_others_do(shop: EagerShop, users: list[int]) -> None:
    begun = begin_at_once(shop, "users", "remove_user", *removals(users))
    assert shop.query("users", LOCAL_TRANSACTIONS) == [(1,)]
    assert [record.values for record in begun] == removals(users)
    assert all(shop.record("users", record.id).waiting for record in begun)
    shop.dispatch("users", "remove_user")
    assert ends(shop, "users", begun) == [("committed", 1)] * 3
    assert [shop.status_of_user(user) for user in users] == [None] * 3


def test_orders_that_are_placed_at_the_same_moment_are_all_placed(shop: EagerShop, user: int, teapot: int) -> None:
    wanted = [{"user_id": user, "lines": [{"product_id": teapot, "quantity": n}]} for n in (1, 2)]
    begun = begin_at_once(shop, "orders", "place_order", *wanted)
    assert shop.query("orders", LOCAL_TRANSACTIONS) == [(1,)]
    shop.dispatch("orders", "place_order")
    assert ends(shop, "orders", begun) == [("committed", 1)] * 2
    placed = [shop.record("orders", record.id).result["order"] for record in begun]
    assert [[line["quantity"] for line in order["lines"]] for order in placed] == [[1], [2]]
    assert [shop.get("orders", f"/orders/{order['id']}") for order in placed] == [
        shown({"order": order})["order"] for order in placed
    ]


def test_one_who_is_refused_is_told_why_and_keeps_out_nobody_else(shop: EagerShop, users: list[int]) -> None:
    first, unknown, last = begin_at_once(shop, "users", "remove_user", *removals([users[0], 999_999, users[1]]))
    assert isinstance(unknown, Missing)
    assert [shop.record("users", record.id).values["user_id"] for record in (first, last)] == users[:2]
    assert [shop.status_of_user(user) for user in users] == ["removing", "removing", "active"]
    shop.recover()


def test_of_two_who_want_the_same_one_gets_it_and_the_other_is_told_by_whom(shop: EagerShop, users: list[int]) -> None:
    begun = begin_at_once(shop, "users", "remove_user", *removals([users[0], users[0]]))
    [winner] = [one for one in begun if isinstance(one, TransactionRecord)]
    [loser] = [one for one in begun if isinstance(one, Refused)]
    assert loser.transaction == str(winner.id)
    shop.recover()


def test_a_user_who_is_being_removed_is_not_removed_again_by_those_who_come_together(
    shop: EagerShop, users: list[int]
) -> None:
    earlier = shop.begin("users", "remove_user", user_id=users[0])
    again, other = begin_at_once(shop, "users", "remove_user", *removals(users[:2]))
    assert isinstance(again, Refused)
    assert again.transaction == str(earlier.id)
    shop.recover()
    assert [str(shop.record("users", one.id).state) for one in (earlier, other)] == ["committed"] * 2


def test_a_request_that_is_said_twice_at_the_same_moment_is_one(shop: EagerShop, users: list[int]) -> None:
    key = IdempotencyKey("anonymous", "DELETE /users", "same", "the same")
    one, other = begin_at_once(shop, "users", "remove_user", *removals([users[0], users[0]]), key=key)
    assert one.id == other.id
    assert shop.query("users", "SELECT count(*) FROM transactions") == [(1,)]
    shop.recover()


def test_a_key_that_is_used_by_two_at_the_same_moment_is_taken_once(shop: EagerShop, users: list[int]) -> None:
    """Two requests that differ only in what they ask for: the row is the judge, not who came first."""
    key = IdempotencyKey("anonymous", "DELETE /users", "same", "the same")
    one, other = begin_at_once(shop, "users", "remove_user", *removals(users[:2]), key=key)
    assert one.id == other.id
    assert [shop.status_of_user(user) for user in users[:2]].count("removing") == 1
    shop.recover()


def test_one_whose_row_is_locked_waits_by_itself(
    shop: EagerShop, users: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others are accepted while the row is still held."""
    door = shop.atomic("users").coordinator._begin["remove_user"]
    waits = []

    def noted(session: Session, removals: Any) -> Any:
        waits.append(session.scalar(sa.text("SHOW lock_timeout")))
        return remove_user.begin_batch(session, removals)

    monkeypatch.setattr(door._begin, "kind", replace(remove_user, begin_batch=noted))
    with shop.locked("users", "SELECT 1 FROM users WHERE id = :id FOR UPDATE", id=users[1]):
        first, held, last = begin_at_once(shop, "users", "remove_user", *removals(users))
    assert isinstance(held, Conflict)
    assert {first.state, last.state} == {"preparing"}
    assert waits == ["20ms"], "together they wait no longer than a moment"
    shop.recover()


def test_nobody_is_forgotten_by_what_begins_together(
    shop: EagerShop, users: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def forgetful(session: Session, removals: Any) -> Any:
        return dict(list(remove_user.begin_batch(session, removals).items())[:-1])

    door = shop.atomic("users").coordinator._begin["remove_user"]
    monkeypatch.setattr(door._begin, "kind", replace(remove_user, begin_batch=forgetful))
    begun = begin_at_once(shop, "users", "remove_user", *removals(users))
    assert shop.query("users", LOCAL_TRANSACTIONS) == [(3,)]
    assert [record.values for record in begun] == removals(users)
    shop.recover()


def test_where_the_commit_of_all_is_lost_each_learns_that_it_did_not_happen(
    shop: EagerShop, users: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_before_the_commit_of_begin(shop, monkeypatch)
    begun = begin_at_once(shop, "users", "remove_user", *removals(users))
    assert [type(one) for one in begun] == [Conflict] * 3
    assert [shop.status_of_user(user) for user in users] == ["active"] * 3
    assert shop.query("users", "SELECT DISTINCT state, settled_at IS NOT NULL FROM transactions") == [("aborted", True)]


def test_where_only_its_answer_is_lost_each_learns_that_it_happened(
    shop: EagerShop, users: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = lose_the_answer_to_the_next_commit(monkeypatch)
    begun = begin_at_once(shop, "users", "remove_user", *removals(users))
    assert lost
    assert [record.waiting for record in begun] == [True] * 3
    shop.dispatch("users", "remove_user")
    assert ends(shop, "users", begun) == [("committed", 1)] * 3


def test_where_the_commit_of_all_fails_each_begins_by_itself(
    shop: EagerShop, users: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    commit, failed = Session.commit, []

    def fail_once(session: Session) -> None:
        if not failed:
            failed.append(True)
            raise IntegrityError("COMMIT", None, psycopg2.IntegrityError("a deferred constraint"))
        commit(session)

    monkeypatch.setattr(Session, "commit", fail_once)
    begun = begin_at_once(shop, "users", "remove_user", *removals(users))
    assert failed
    assert shop.query("users", LOCAL_TRANSACTIONS) == [(3,)]
    assert [record.values for record in begun] == removals(users)
    shop.recover()


def test_no_more_than_so_many_begin_batch(shop: EagerShop, users: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(begin_batch, "_MOST", 2)
    begun = begin_at_once(shop, "users", "remove_user", *removals(users))
    assert shop.query("users", LOCAL_TRANSACTIONS) == [(2,)]
    assert [record.values for record in begun] == removals(users)
    shop.recover()


def test_whoever_comes_first_begins_by_itself_and_the_place_is_free_afterwards(
    shop: EagerShop, users: list[int]
) -> None:
    for user in users[:2]:
        assert not shop.begin("users", "remove_user", user_id=user).waiting
    with pytest.raises(Missing):
        shop.begin("users", "remove_user", user_id=999_999)
    assert not shop.atomic("users").coordinator._begin["remove_user"]._somebody_begins
    shop.recover()


def test_a_user_who_becomes_active_while_a_removal_looks_is_marked_all_the_same(shop: EagerShop, user: int) -> None:
    """An earlier removal has been aborted, and its local transaction ends while this one waits for the row."""
    shop.query("users", "UPDATE users SET status = 'removing', removed_by = gen_random_uuid()")
    begun: list[Any] = []
    removal = threading.Thread(target=lambda: begun.append(shop.begin("users", "remove_user", user_id=user)))
    with shop.engines["users"].begin() as earlier:
        earlier.execute(sa.text("UPDATE users SET status = 'active', removed_by = NULL"))
        removal.start()
        while removal.is_alive() and not shop.query("users", _SOMEBODY_WAITS)[0][0]:
            time.sleep(0.005)
    removal.join()
    assert [record.state for record in begun] == ["preparing"]
    assert shop.query("users", "SELECT status, removed_by FROM users") == [("removing", begun[0].id)]
    shop.recover()
    assert shop.status_of_user(user) is None


_SOMEBODY_WAITS = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"
