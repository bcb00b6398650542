"""While decisions are held nobody decides, and afterwards everything goes on; all points are set while all are held."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from eager_line import all_removed, prepare_together
from eager_shop import EagerShop
from eager_steps import coordinator, forge
from eager_threads import Beside
from sqlalchemy.orm import Session

from atomic_commit import Conflict, Lost, TransactionRecord
from atomic_commit.coordinator import decide, hold_decisions, restore_point
from atomic_commit.coordinator.hold_decisions import decisions_held
from atomic_commit.coordinator.restore_point import Step, may_be_set
from atomic_commit.wire.conversation import Conversation
from atomic_commit.wire.hand_over import Answer
from celery_config.manifest import SERVICES

#: However slow the machine is.
PATIENTLY = sa.text("SET LOCAL synchronous_commit = off; SET LOCAL lock_timeout = '60s'")


@pytest.fixture
def patient(shop: EagerShop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits for a lock waits for as long as it takes, however slow the machine is."""
    begin = Session.begin

    def patiently(session: Session, *given: Any, **named: Any) -> Any:
        begun = begin(session, *given, **named)
        session.execute(sa.text("SET LOCAL lock_timeout = '60s'"))
        return begun

    monkeypatch.setattr(Session, "begin", patiently)
    monkeypatch.setattr(hold_decisions, "_BOUNDS", PATIENTLY)


# ---- held


def decided_for(shop: EagerShop, removal: TransactionRecord) -> Callable[[], Any]:
    handed_on = shop.prepare_all(removal)
    return lambda: coordinator(shop).decide(removal.id, 1, handed_on)


def decided_against(shop: EagerShop, removal: TransactionRecord) -> Callable[[], Any]:
    return lambda: shop.abort("users", removal)


def tried_again(shop: EagerShop, removal: TransactionRecord) -> Callable[[], Any]:
    for gid in shop.gids(removal):
        forge(shop, gid, Conflict("somebody was first"), "FAILURE")
    return lambda: coordinator(shop).decide(removal.id, 1)


def answered(shop: EagerShop, removal: TransactionRecord) -> Callable[[], Any]:
    with shop.post.loses():
        decided_for(shop, removal)()
    gid = shop.gids(removal)[0]
    shop.participant_of(gid).commit(gid)
    return lambda: coordinator(shop).acknowledge(removal.id, 1, gid.branch, Answer.COMMITTED)


def formed(shop: EagerShop, removal: TransactionRecord) -> Callable[[], Any]:
    with shop.all_stand_in_line():
        shop.begin("users", "remove_user", user_id=shop.add_user("Grace"))
    return lambda: shop.dispatch("users", "remove_user")


def accepted(shop: EagerShop, removal: TransactionRecord) -> Callable[[], Any]:
    user = shop.add_user("Grace")
    return lambda: shop.begin("users", "remove_user", user_id=user)


def decided_together(shop: EagerShop, removal: TransactionRecord) -> Callable[[], Any]:
    begun = all_removed(shop, [shop.add_user(f"User{number}") for number in range(2)])
    with shop.post.loses():
        shop.dispatch("users", "remove_user")
    leader = shop.record("users", begun[0].id)
    assert len(leader.current_branches) == 2
    handed_on = prepare_together(shop, "users", begun)
    return lambda: coordinator(shop).decide(leader.led_by[0], 1, handed_on)


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize(
    "step", [decided_for, decided_against, tried_again, answered, formed, accepted, decided_together]
)
def test_whatever_moves_a_transaction_on_waits_while_decisions_are_held_and_goes_on_afterwards(
    shop: EagerShop, removal: TransactionRecord, step: Callable[..., Callable[[], Any]]
) -> None:
    take = step(shop, removal)
    with decisions_held(shop.engines["users"]) as hold:
        before = shop.everything()
        waiting = Beside(take)
        waiting.wait_for_a_lock(shop)
        assert shop.everything() == before
        shop.query("users", "SELECT FROM transactions FOR UPDATE NOWAIT")  # nobody who waits has locked a row of them
    result = waiting.join()
    assert not isinstance(result, Exception), result
    assert shop.everything() != before
    assert hold.seconds > 0
    shop.recover()


def test_a_hold_waits_for_a_decision_that_is_under_way(
    shop: EagerShop, removal: TransactionRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_commit, go_on = threading.Event(), threading.Event()

    def stop(point: str, *_: Any) -> None:
        if point == "decide.before_commit":
            at_commit.set()
            assert go_on.wait(10)

    def seen_while_held() -> str:
        with decisions_held(shop.engines["users"]):
            return str(shop.record("users", removal.id).state)

    take = decided_for(shop, removal)
    monkeypatch.setattr(decide, "reach", stop)
    monkeypatch.setattr(hold_decisions, "_BOUNDS", PATIENTLY)
    deciding = Beside(take)
    assert at_commit.wait(10)
    holding = Beside(seen_while_held)
    holding.wait_for_a_lock(shop)
    go_on.set()
    assert holding.join() == "committed"
    deciding.join()
    shop.recover()


def test_what_waits_for_too_long_is_a_conflict_and_recovery_takes_it_up(
    shop: EagerShop, removal: TransactionRecord
) -> None:
    take = decided_for(shop, removal)
    with decisions_held(shop.engines["users"]):
        with pytest.raises(Conflict):
            shop.celery.tasks[shop.atomic("users").installation.task("users", "review")].apply(
                kwargs={"transaction": str(removal.id), "attempt": 1}, throw=True
            )
        shop.remove_user(shop.add_user("Grace")).problem(503, "conflict-busy")
        assert shop.record("users", removal.id).state == "preparing"
    take()
    shop.recover()
    assert shop.transaction("users", removal.id)["state"] == "committed"


def test_decisions_that_do_not_end_in_time_can_not_be_held(
    shop: EagerShop, removal: TransactionRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hold_decisions, "_BOUNDS", sa.text("SET LOCAL lock_timeout = '50ms'"))
    held = []

    def hold_in_the_middle(point: str, *_: Any) -> None:
        if point == "decide.before_commit":
            with pytest.raises(Conflict), decisions_held(shop.engines["users"]):
                held.append("not reached")

    take = decided_for(shop, removal)
    monkeypatch.setattr(decide, "reach", hold_in_the_middle)
    take()
    assert not held
    shop.recover()


def test_a_hold_whose_holder_falls_silent_is_ended_by_the_server_and_says_so(
    shop: EagerShop, removal: TransactionRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The holder may hang for good; decisions go on."""
    assert "idle_in_transaction_session_timeout = 2000" in str(hold_decisions._BOUNDS)
    monkeypatch.setattr(hold_decisions, "_BOUNDS", sa.text("SET LOCAL idle_in_transaction_session_timeout = 50"))
    take = decided_for(shop, removal)
    held = "SELECT EXISTS (SELECT FROM pg_locks WHERE classid = 7219403 AND mode = 'ExclusiveLock')"

    def fall_silent() -> None:
        with decisions_held(shop.engines["users"]):
            while shop.query("users", held)[0][0]:
                time.sleep(0.01)
            take()
            assert shop.record("users", removal.id).state == "committed"

    with pytest.raises(Lost):
        fall_silent()
    shop.recover()


# ---- the services in step


@pytest.fixture
def conversation() -> str:
    return secrets.token_hex(8)


def take_part(shop: EagerShop, conversation: str, *services: str) -> dict[str, Any]:
    """What came of it in each of these services."""
    all_of_them = {
        service: Beside(
            lambda service=service: shop.atomic(service).restore_points.take_part("a.point", SERVICES, conversation)
        )
        for service in services
    }
    return {service: one.join() for service, one in all_of_them.items()}


@pytest.fixture(autouse=True)
def _patient_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine is."""
    monkeypatch.setattr(restore_point, "_HOLDS_FOR", 20.0)
    monkeypatch.setattr(
        hold_decisions, "_BOUNDS", sa.text(str(hold_decisions._BOUNDS) + "; SET LOCAL lock_timeout = '20s'; SET LOCAL"
                                           " idle_in_transaction_session_timeout = '30s'")
    )  # fmt: skip


def test_a_point_is_set_in_every_servers_log(shop: EagerShop, conversation: str) -> None:
    done = take_part(shop, conversation, *SERVICES)
    assert done.keys() == set(SERVICES)
    assert all(0 < one["held"] < 60 for one in done.values())
    for one in done.values():
        flushed = shop.query("users", f"SELECT pg_current_wal_flush_lsn() >= '{one['at']}'")
        assert flushed == [(True,)], "a point that a crash could take away is none"


def test_no_point_is_set_before_all_hold_and_nobody_lets_go_before_all_are_set(
    shop: EagerShop, conversation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What each one has done, in the order in which they said it."""
    said: list[tuple[str, str]] = []
    say, commit = Conversation.say, Session.commit

    def note(talk: Conversation, who: str, word: str) -> None:
        said.append((who, word))
        say(talk, who, word)

    def note_end(session: Session) -> None:
        said.append(("", "over"))
        commit(session)

    monkeypatch.setattr(Conversation, "say", note)
    monkeypatch.setattr(Session, "commit", note_end)
    take_part(shop, conversation, *SERVICES)
    words = [word for _, word in said]
    assert words == [*[Step.READY] * 3, *[Step.HELD] * 3, *[Step.SET] * 3, *["over"] * 3]


def test_who_is_missed_lets_nobody_begin(shop: EagerShop, conversation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restore_point, "_READY_FOR", 0.05)
    done = take_part(shop, conversation, "users", "products")
    assert {type(one) for one in done.values()} == {Conflict}
    assert "let go, because" in str(done["users"])
    assert not may_be_set(shop.celery, SERVICES, conversation)
    assert isinstance(take_part(shop, conversation, "orders")["orders"], Conflict), "who comes late finds them gone"


def test_a_role_without_the_right_says_what_to_grant_and_all_let_go(shop: EagerShop, conversation: str) -> None:
    shop.query_outside("orders", "REVOKE EXECUTE ON FUNCTION pg_create_restore_point FROM orders_service")
    try:
        done = take_part(shop, conversation, *SERVICES)
    finally:
        shop.query_outside("orders", "GRANT EXECUTE ON FUNCTION pg_create_restore_point TO orders_service")
    assert 'GRANT EXECUTE ON FUNCTION pg_create_restore_point TO "orders_service"' in str(done["orders"])
    assert "in the database orders" in str(done["orders"])
    assert str(done["users"]).startswith("let go, because ")
    assert not may_be_set(shop.celery, SERVICES, conversation)
    with decisions_held(shop.engines["users"]):
        pass  # nobody holds them any more


def test_who_can_not_hold_lets_all_go_before_a_point_is_set(
    shop: EagerShop, conversation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(session: Session) -> None:
        raise Lost("the server is away")

    hold = hold_decisions.journal.hold
    monkeypatch.setattr(
        hold_decisions.journal,
        "hold",
        lambda session: (away if session.get_bind().url.database == "orders" else hold)(session),
    )
    done = take_part(shop, conversation, *SERVICES)
    assert [type(done[service]) for service in ("users", "products", "orders")] == [Conflict, Conflict, Lost]
    assert not may_be_set(shop.celery, SERVICES, conversation)


@pytest.mark.parametrize("when", ["before it sets the point", "after it has set the point"])
def test_a_hold_that_ends_early_is_no_yes_and_some_may_have_set_the_point(
    shop: EagerShop, conversation: str, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """The server ends the session of one of them while all hold."""
    monkeypatch.setattr(restore_point, "_HOLDS_FOR", 1.0)
    step = restore_point._Talk.step

    def cut(talk: Any, one: Step, within: float) -> None:
        step(talk, one, within)
        if talk._own == "orders" and one is (Step.HELD if when.startswith("before") else Step.SET):
            shop.query_outside(
                "orders",
                "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE classid = 7219403 AND mode = 'ExclusiveLock'"
                " AND database = (SELECT oid FROM pg_database WHERE datname = 'orders')",
            )

    monkeypatch.setattr(restore_point._Talk, "step", cut)
    done = take_part(shop, conversation, *SERVICES)
    assert isinstance(done["orders"], Lost)
    assert may_be_set(shop.celery, SERVICES, conversation)
    others = {type(done[service]) for service in ("users", "products")}
    assert others == {Conflict if when.startswith("before") else dict}


def test_who_may_have_set_the_point_does_not_say_that_it_has_not(shop: EagerShop, conversation: str) -> None:
    """Another one may not have heard yet that this one holds, and would then set none: and would say so."""
    talk = restore_point._Talk(Conversation(shop.celery, conversation), "users", ["users"])
    for step, said in ((Step.READY, Step.LEFT), (Step.HELD, Step.HELD), (Step.SET, Step.SET)):
        talk.step(step, 1.0)
        talk.leave()
        assert Conversation(shop.celery, conversation).heard("users") == said


def test_a_point_that_is_not_known_to_be_flushed_is_no_yes(
    shop: EagerShop, conversation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A standby that does not answer, for example: a failover would take it away."""

    def not_confirmed(engine: sa.Engine) -> None:
        if engine.url.database == "orders":
            raise Lost("not known whether it stays")

    monkeypatch.setattr(restore_point, "flush", not_confirmed)
    done = take_part(shop, conversation, *SERVICES)
    assert isinstance(done["orders"], Lost)
    assert may_be_set(shop.celery, SERVICES, conversation)


def test_a_result_backend_that_is_away_is_no_yes_and_holds_nobody(
    shop: EagerShop, conversation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(talk: Conversation, who: str, word: str) -> None:
        raise OSError("no result backend here")

    monkeypatch.setattr(Conversation, "say", away)
    done = take_part(shop, conversation, *SERVICES)
    assert {str(one) for one in done.values()} == {"no result backend here"}
    with decisions_held(shop.engines["users"]):
        pass
