"""A paused service accepts no transaction, from the moment at which pause has answered; everything else goes on."""

from __future__ import annotations

import threading
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa
from eager_line import begin_at_once, removals
from eager_shop import EagerShop
from eager_threads import Beside
from sqlalchemy.orm import Session

from atomic_commit import Conflict, IdempotencyKey, Paused, journal
from atomic_commit.coordinator import begin, pause
from atomic_commit.coordinator.pause import Pausing

#: However slow the machine is.
PATIENTLY = sa.text("SET LOCAL lock_timeout = '60s'")
KEY = IdempotencyKey("anonymous", "DELETE /users", "same", "the same")


@pytest.fixture
def pausing(shop: EagerShop) -> Pausing:
    return shop.atomic("users").pausing


def accept_with_others(session: Session) -> Any:
    """The statement by which those are accepted who begin together."""
    id = uuid4()
    return journal.insert_waiting(session, "remove_user", {id: {}}, {id: None}, deadline=1.0, patience=1.0)


# ---- what is refused


def test_nothing_is_accepted_and_who_asks_is_told_why(shop: EagerShop, pausing: Pausing, user: int) -> None:
    pausing.set("a backup")
    before = shop.everything()
    with pytest.raises(Paused, match="paused: a backup") as refused:
        shop.begin("users", "remove_user", user_id=user)
    assert refused.value.because == "a backup"
    assert shop.everything() == before
    pausing.clear()
    shop.remove_user(user).expect(200)


def test_a_pause_needs_no_reason(shop: EagerShop, pausing: Pausing, user: int) -> None:
    pausing.set(None)
    with pytest.raises(Paused, match=r"^paused$"):
        shop.begin("users", "remove_user", user_id=user)


def test_those_who_come_at_the_same_moment_are_not_accepted_either(shop: EagerShop, pausing: Pausing) -> None:
    users = [shop.add_user(f"User{number}") for number in range(3)]
    pausing.set("a backup")
    with shop.engines["users"].begin() as connection, Session(connection) as session, pytest.raises(Paused):
        accept_with_others(session)
    begun = begin_at_once(shop, "users", "remove_user", *removals(users))
    assert [type(one) for one in begun] == [Paused] * 3
    assert shop.query("users", "SELECT count(*) FROM transactions") == [(0,)]
    assert [shop.status_of_user(user) for user in users] == ["active"] * 3


def test_each_service_is_paused_for_itself(shop: EagerShop, pausing: Pausing, user: int, teapot: int) -> None:
    pausing.set("a backup")
    shop.place_order(user, {teapot: 1})


@pytest.mark.parametrize("because", ["a backup", "a backup. Back at 9.", None])
def test_a_client_is_answered_503_with_the_reason_and_when_to_come_again(
    shop: EagerShop, pausing: Pausing, user: int, because: str | None
) -> None:
    pausing.set(because)
    answer = shop.remove_user(user)
    problem = answer.problem(503, "paused")
    assert answer.headers["Retry-After"] == "30"
    told = f": {because.rstrip('.')}" if because else ""
    assert problem["detail"] == f"Nothing was accepted: the application is paused{told}."
    repeated = shop.remove_user(user, Idempotency_Key="k").problem(503, "paused")
    assert "whether an earlier one with its Idempotency-Key was accepted" in repeated["detail"]


# ---- what goes on


def test_what_one_service_does_by_itself_goes_on_and_it_stays_ready(shop: EagerShop) -> None:
    for service in ("users", "products", "orders"):
        shop.atomic(service).pausing.set("a backup")
    user, teapot = shop.add_user("Ada"), shop.add_product("teapot", stock=5)
    shop.adjust_stock(teapot, 2).expect(200)
    shop.call("users", "PATCH", f"/users/{user}", {"name": "Ada Lovelace"}).expect(200)
    for service in ("users", "products", "orders"):
        assert shop.get(service, "/readyz")["status"] == "ready"


def test_what_was_accepted_before_is_tried_and_settled_by_recovery(
    shop: EagerShop, pausing: Pausing, user: int, order: int
) -> None:
    removal = shop.begin("users", "remove_user", user_id=user)
    with shop.all_stand_in_line():
        waiting = shop.begin("users", "remove_user", user_id=shop.add_user("Grace"))
    pausing.set("a backup")
    shop.recover()
    assert [shop.transaction("users", one.id)["state"] for one in (removal, waiting)] == ["committed"] * 2


def test_who_repeats_what_was_accepted_joins_it(shop: EagerShop, pausing: Pausing, user: int) -> None:
    with shop.post.loses():
        removal = shop.atomic("users").begin("remove_user", {"user_id": user}, KEY)
    pausing.set("a backup")
    assert shop.atomic("users").begin("remove_user", {"user_id": user}, KEY).id == removal.id
    shop.recover()


def test_who_loses_the_race_for_a_key_to_one_that_was_accepted_before_the_pause_joins_it(
    shop: EagerShop, pausing: Pausing, user: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It asked for the key before the other one was accepted, and comes to its own begin when all is paused."""
    coordinator = shop.atomic("users").coordinator
    ask, accepted = coordinator._joined, []

    def too_early(key: IdempotencyKey) -> Any:
        if accepted:
            return ask(key)
        with shop.post.loses():
            accepted.append(coordinator.begin("remove_user", {"user_id": user}))
        shop.query("users", "UPDATE transactions SET idempotency_caller = :caller, idempotency_route = :route,"
                            " idempotency_key = :key, fingerprint = :fingerprint", **vars(KEY))  # fmt: skip
        pausing.set("a backup")
        return None

    monkeypatch.setattr(coordinator, "_joined", too_early)
    assert coordinator.begin("remove_user", {"user_id": user}, KEY).id == accepted[0].id
    shop.recover()


# ---- nothing is accepted after the answer


def test_pause_answers_when_those_who_were_accepting_have_ended(
    shop: EagerShop, pausing: Pausing, user: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The begin has accepted and not committed; the pause stands for whoever comes after it, and is not answered."""
    at_commit, go_on = threading.Event(), threading.Event()

    def stop(point: str, *_: Any) -> None:
        if point == "begin.before_commit":
            at_commit.set()
            assert go_on.wait(10)

    monkeypatch.setattr(begin, "reach", stop)
    monkeypatch.setattr(pause, "_WAITS", PATIENTLY)
    beginning = Beside(lambda: shop.begin("users", "remove_user", user_id=user))
    assert at_commit.wait(10)
    setting = Beside(lambda: pausing.set("a backup"))
    setting.wait_for_a_lock(shop)
    assert not setting.over
    go_on.set()
    assert beginning.join().state == "preparing", "it was accepted before the answer"
    assert setting.join() is None
    shop.recover()


@pytest.mark.parametrize("how", ["by itself", "with others"])
def test_who_comes_to_accept_after_the_pause_sees_it_however_early_it_has_begun(
    shop: EagerShop, user: int, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its statement is sent before the pause is committed, and gets its turn afterwards."""

    def be_patient(point: str, session: Any = None) -> None:
        if point == "begin.before_accept":
            session.execute(PATIENTLY)

    monkeypatch.setattr(begin, "reach", be_patient)

    def accept() -> Any:
        if how == "by itself":
            return shop.begin("users", "remove_user", user_id=user)
        with Session(shop.engines["users"]) as session, session.begin():
            return accept_with_others(session)

    with Session(shop.engines["users"]) as session, session.begin():
        journal.wait_for_who_accepts(session)
        accepting = Beside(accept)
        accepting.wait_for_a_lock(shop)
        journal.pause(session, "a backup")
    assert isinstance(accepting.join(), Paused)
    assert shop.query("users", "SELECT count(*) FROM transactions") == [(0,)]


def test_pause_says_where_it_is_not_known_yet_that_nobody_is_accepted_any_more(
    shop: EagerShop, pausing: Pausing, user: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pause, "_WAITS", sa.text("SET LOCAL lock_timeout = '50ms'"))
    with Session(shop.engines["users"]) as somebody, somebody.begin():
        accept_with_others(somebody)
        with pytest.raises(Conflict, match="paused, but who began before may still be accepted: ask again"):
            pausing.set("a backup")
        somebody.rollback()
    with pytest.raises(Paused):
        shop.begin("users", "remove_user", user_id=user)
    pausing.set(None)
    [(because,)] = shop.query("users", "SELECT paused_because FROM database_identity")
    assert because == "a backup", "who gives no reason leaves the one that there is"


def test_who_pauses_again_may_say_another_reason_and_since_when_stays(shop: EagerShop, pausing: Pausing) -> None:
    def row() -> tuple[Any, ...]:
        return shop.query("users", "SELECT paused_at, paused_because FROM database_identity")[0]

    pausing.set("a backup")
    since, _ = row()
    pausing.set("an upgrade")
    assert row() == (since, "an upgrade")
    pausing.clear()
    assert row() == (None, None)
    pausing.clear()
