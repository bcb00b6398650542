"""The protocol step by step. A crash is "stop calling": the steps up to some point, then nothing but recovery.

The two observables after every step, as in psycopg's test_tpc: how many branches are prepared, and what a reader sees.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from eager_shop import EagerShop, message

from atomic_commit import Fenced, Refused
from orders_service.cancel_order import cancel_order
from orders_service.place_order import place_order
from users_service.remove_user import remove_user

# ---- (prepared, visible)


def test_removing_a_user_becomes_visible_only_after_the_decision(shop: EagerShop, user: int, teapot: int) -> None:
    order = shop.place_order(user, {teapot: 4})
    coordinator = shop.atomic("users").coordinator

    def seen() -> tuple[int, list[Any]]:
        return len(shop.prepared()), [shop.status_of_user(user), shop.status_of_order(order), shop.stock_of(teapot)]

    assert seen() == (0, ["active", "open", 6])
    record = shop.begin("users", "remove_user", user_id=user)
    assert seen() == (0, ["removing", "open", 6])
    orders, products = shop.gids(record)
    handed_on = shop.prepare(orders, shop.handed_on(record))
    assert seen() == (1, ["removing", "open", 6])
    handed_on = shop.prepare(products, handed_on)
    assert seen() == (2, ["removing", "open", 6])
    with shop.post.loses():
        coordinator.decide(record.id, 1, handed_on)
    assert seen() == (2, [None, "open", 6])
    for gid, then in ((orders, (1, [None, "cancelled", 6])), (products, (0, [None, "cancelled", 10]))):
        answer = shop.participant_of(gid).commit(gid)
        assert seen() == then
        coordinator.acknowledge(record.id, 1, gid.branch, answer)
    assert shop.record("users", record.id).settled_at


def test_placing_an_order_becomes_visible_only_after_the_decision(shop: EagerShop, user: int, teapot: int) -> None:
    coordinator = shop.atomic("orders").coordinator

    def seen() -> tuple[int, list[Any]]:
        return len(shop.prepared()), [list(shop.orders_of(user).values()), shop.stock_of(teapot)]

    record = shop.begin("orders", "place_order", user_id=user, lines=[{"product_id": teapot, "quantity": 4}])
    assert seen() == (0, [[], 10])
    users, products = shop.gids(record)
    handed_on = shop.prepare(users, shop.handed_on(record))
    assert seen() == (1, [[], 10])
    handed_on = shop.prepare(products, handed_on)
    assert seen() == (2, [[], 10])
    with shop.post.loses():
        coordinator.decide(record.id, 1, handed_on)
    assert seen() == (2, [["open"], 10])
    for gid, then in ((products, (1, [["open"], 6])), (users, (0, [["open"], 6]))):
        answer = shop.participant_of(gid).commit(gid)
        assert seen() == then
        coordinator.acknowledge(record.id, 1, gid.branch, answer)
    assert shop.record("orders", record.id).settled_at


def test_an_aborted_cancellation_was_never_visible_but_for_its_mark(shop: EagerShop, user: int, teapot: int) -> None:
    order = shop.place_order(user, {teapot: 4})
    coordinator = shop.atomic("orders").coordinator

    def seen() -> tuple[int, list[Any]]:
        return len(shop.prepared()), [shop.status_of_order(order), shop.stock_of(teapot)]

    record = shop.begin("orders", "cancel_order", order_id=order)
    assert seen() == (0, ["cancelling", 6])
    shop.prepare_all(record)
    assert seen() == (1, ["cancelling", 6])
    shop.abort("orders", record)
    assert seen() == (1, ["open", 6])
    [gid] = shop.gids(record)
    answer = shop.participant_of(gid).rollback(gid)
    assert seen() == (0, ["open", 6])
    coordinator.acknowledge(record.id, 1, gid.branch, answer)
    assert shop.record("orders", record.id).settled_at


# ---- the scenes: every kind of transaction, as it succeeds and as it is refused


@dataclass
class Scene:
    """A transaction about to begin, and what is to be seen when it is over: everything or nothing of it."""

    service: str
    kind: str
    arguments: dict[str, Any]
    look: Callable[[], Any]
    expected: Any


def removal(shop: EagerShop, *, refused: bool) -> Scene:
    user, teapot = shop.add_user(), shop.add_product("teapot", stock=10)
    vase = shop.add_product("vase", stock=5, capacity=5)
    both, one = shop.place_order(user, {teapot: 3, vase: 2}), shop.place_order(user, {teapot: 1})
    history = shop.place_order(user, {vase: 1})
    shop.fulfil(history).expect(200)
    if refused:
        shop.adjust_stock(vase, 2).expect(200)  # 4 of 5 there, 2 to come back

    def look() -> Any:
        return shop.status_of_user(user), shop.orders_of(user), shop.stock_of(teapot), shop.stock_of(vase)

    done = (None, {both: "cancelled", one: "cancelled", history: "fulfilled"}, 10, 4)
    return Scene("users", "remove_user", {"user_id": user}, look, look() if refused else done)


def placing(shop: EagerShop, *, refused: bool) -> Scene:
    user, teapot, kettle = shop.add_user(), shop.add_product("teapot", stock=10), shop.add_product("kettle", stock=2)
    lines = [{"product_id": teapot, "quantity": 3}, {"product_id": kettle, "quantity": 3 if refused else 2}]

    def look() -> Any:
        return list(shop.orders_of(user).values()), shop.stock_of(teapot), shop.stock_of(kettle)

    expected = look() if refused else (["open"], 7, 0)
    return Scene("orders", "place_order", {"user_id": user, "lines": lines}, look, expected)


def cancellation(shop: EagerShop, *, refused: bool) -> Scene:
    user, vase = shop.add_user(), shop.add_product("vase", stock=5, capacity=5)
    order = shop.place_order(user, {vase: 3})
    if refused:
        shop.adjust_stock(vase, 1).expect(200)

    def look() -> Any:
        return shop.orders_of(user), shop.stock_of(vase)

    return Scene("orders", "cancel_order", {"order_id": order}, look, look() if refused else ({order: "cancelled"}, 5))


SCENES = {
    "remove_user": (removal, remove_user),
    "place_order": (placing, place_order),
    "cancel_order": (cancellation, cancel_order),
}


def steps(shop: EagerShop, scene: Scene) -> Iterator[str]:
    """The whole protocol, one step at a time. Whoever stops asking for the next one has crashed."""
    coordinator = shop.atomic(scene.service).coordinator
    record = shop.begin(scene.service, scene.kind, **scene.arguments)
    yield "begin"
    handed_on: dict[str, Any] | None = shop.handed_on(record)
    for gid in shop.gids(record):
        try:
            handed_on = shop.prepare(gid, handed_on)
        except Refused:
            handed_on = None
        yield f"prepare {gid.branch}"
    with shop.post.loses():
        coordinator.decide(record.id, 1, handed_on)
    yield "decide"
    for gid in shop.gids(record):
        participant = shop.participant_of(gid)
        answer = participant.commit(gid) if handed_on else participant.rollback(gid)
        yield f"outcome {gid.branch}"
        with shop.post.loses():
            coordinator.acknowledge(record.id, 1, gid.branch, answer)
        yield f"acknowledge {gid.branch}"


def crashes() -> Iterator[Any]:
    for name, (build, kind) in SCENES.items():
        named = [
            "begin",
            *(f"prepare {branch}" for branch in kind.branches),
            "decide",
            *(f"{what} {branch}" for branch in kind.branches for what in ("outcome", "acknowledge")),
        ]
        for refused in (False, True):
            for last in named:
                how = f"{name}{'-refused' if refused else ''}-after-{last.replace(' ', '-')}"
                yield pytest.param(build, refused, last, id=how)


@pytest.mark.parametrize("results", ["results-kept", "results-lost"])
@pytest.mark.parametrize(("build", "refused", "last"), list(crashes()))
def test_a_crash_after_any_step_ends_whole_and_what_comes_late_changes_nothing(
    shop: EagerShop, build: Callable[..., Scene], refused: bool, last: str, results: str
) -> None:
    scene = build(shop, refused=refused)
    for step in steps(shop, scene):
        if step == last:
            break
    else:
        pytest.fail(f"there is no step {last}")
    [transaction] = shop.get(scene.service, "/transactions?limit=1")
    record = shop.record(scene.service, transaction["id"])
    gids = shop.gids(record)
    if results == "results-lost":
        for gid in gids:
            shop.celery.AsyncResult(str(gid)).forget()

    shop.recover()

    assert scene.look() == scene.expected, shop.tell()
    assert shop.prepared() == []
    state = shop.transaction(scene.service, record.id)
    assert state["decision"] == ("aborted" if refused else "committed"), shop.tell()
    if refused:
        assert state["cause"]["cause"] == "refused", shop.tell()

    # The dead come back: every message of the first attempt is delivered again, much too late.
    everything = shop.everything()
    for gid in gids:
        with pytest.raises(Fenced):
            shop.prepare(gid, message(record, quantities=[], prices=[]))
    with shop.post.loses():
        shop.atomic(scene.service).coordinator.decide(record.id, 1, message(record, *gids))
        shop.atomic(scene.service).coordinator.decide(record.id, 1)
    told = {branch["task_id"]: branch["outcome"] for branch in state["branches"]}
    for gid in gids:
        getattr(shop.participant_of(gid), told[str(gid)])(gid)
    assert shop.everything() == everything


@pytest.mark.parametrize(("build", "refused"), [(b, r) for b, _ in SCENES.values() for r in (False, True)])
def test_what_crashes_again_and_again_ends_whole_all_the_same(
    shop: EagerShop, build: Callable[..., Scene], refused: bool
) -> None:
    """Every worker dies right after every message it takes, three times over: nothing sent ever arrives."""
    scene = build(shop, refused=refused)
    shop.begin(scene.service, scene.kind, **scene.arguments)
    with shop.post.loses():
        for _ in range(3):
            shop.time_passes(30)  # nobody looked for long: no silence is held against anybody
            shop.sweep()
            shop.time_passes(8)
            shop.sweep()
    shop.recover(rounds=20)
    assert scene.look() == scene.expected, shop.tell()


# ---- what others see and do meanwhile


def test_while_a_removal_is_undecided_readers_see_the_old_state_and_others_go_on_buying(
    shop: EagerShop, user: int, teapot: int
) -> None:
    kettle = shop.add_product("kettle", stock=5)
    order = shop.place_order(user, {teapot: 4})
    grace = shop.add_user("Grace")
    theirs = shop.place_order(grace, {kettle: 1})
    record = shop.begin("users", "remove_user", user_id=user)
    handed_on = shop.prepare_all(record)
    assert len(shop.prepared()) == 2

    assert shop.get("users", f"/users/{user}")["name"] == "Ada"
    assert user in [row["id"] for row in shop.get("users", "/users")]
    assert shop.status_of_order(order) == "open"
    assert shop.stock_of(teapot) == 6
    another = shop.place_order(grace, {kettle: 2})
    shop.cancel(theirs).expect(200)
    shop.fulfil(another).expect(200)
    shop.remove_user(shop.add_user("Mary")).expect(200)
    assert shop.stock_of(kettle) == 3

    shop.atomic("users").coordinator.decide(record.id, 1, handed_on)
    assert shop.status_of_user(user) is None
    assert shop.orders_of(user) == {order: "cancelled"}
    assert shop.stock_of(teapot) == 10


def test_two_orders_of_one_user_do_not_wait_for_each_other(shop: EagerShop, user: int, teapot: int) -> None:
    kettle = shop.add_product("kettle")
    record = shop.begin("orders", "place_order", user_id=user, lines=[{"product_id": teapot, "quantity": 1}])
    handed_on = shop.prepare_all(record)
    shop.place_order(user, {kettle: 1})
    shop.atomic("orders").coordinator.decide(record.id, 1, handed_on)
    assert list(shop.orders_of(user).values()) == ["open", "open"]


def test_a_user_whose_order_is_being_placed_cannot_be_removed_before_it_is_decided(
    shop: EagerShop, user: int, teapot: int
) -> None:
    record = shop.begin("orders", "place_order", user_id=user, lines=[{"product_id": teapot, "quantity": 1}])
    handed_on = shop.prepare_all(record)
    shop.remove_user(user).problem(503, "conflict-busy")
    assert shop.status_of_user(user) == "active"
    shop.atomic("orders").coordinator.decide(record.id, 1, handed_on)
    shop.remove_user(user).expect(200)
    assert list(shop.orders_of(user).values()) == ["cancelled"]


def test_an_order_that_a_removal_has_in_hand_cannot_be_cancelled_or_fulfilled_before_it_is_decided(
    shop: EagerShop, user: int, teapot: int
) -> None:
    order = shop.place_order(user, {teapot: 1})
    record = shop.begin("users", "remove_user", user_id=user)
    shop.prepare_all(record)
    shop.cancel(order).problem(503, "conflict-busy")
    shop.fulfil(order).problem(503, "conflict-busy")
    shop.recover()
    assert shop.orders_of(user) == {order: "cancelled"}
    assert shop.get("orders", "/transactions?state=preparing") == []


def test_a_removal_that_meets_an_order_being_cancelled_tries_again_and_commits(
    shop: EagerShop, user: int, teapot: int
) -> None:
    order, other = shop.place_order(user, {teapot: 2}), shop.place_order(user, {teapot: 3})
    cancelling = shop.begin("orders", "cancel_order", order_id=order)
    removing = shop.remove_user(user, Prefer="respond-async").expect(202).json["transaction"]["id"]
    transaction = shop.transaction("users", removing)
    assert (transaction["state"], transaction["attempt"]) == ("preparing", 2), transaction
    assert transaction["cause"]["cause"] == "conflict", transaction
    assert shop.prepared() == []
    assert shop.orders_of(user) == {order: "cancelling", other: "open"}

    shop.atomic("orders").coordinator.decide(cancelling.id, 1, shop.prepare_all(cancelling))
    shop.recover()
    transaction = shop.transaction("users", removing)
    assert (transaction["state"], transaction["attempt"], transaction["cause"]) == ("committed", 2, None), transaction
    assert shop.orders_of(user) == {order: "cancelled", other: "cancelled"}
    assert shop.stock_of(teapot) == 10


def test_a_removal_that_meets_a_cancellation_that_is_taken_back_cancels_that_order_too(
    shop: EagerShop, user: int
) -> None:
    vase = shop.add_product("vase", stock=5, capacity=5)
    order = shop.place_order(user, {vase: 2})
    cancelling = shop.begin("orders", "cancel_order", order_id=order)
    shop.remove_user(user, Prefer="respond-async").expect(202)
    shop.abort("orders", shop.record("orders", cancelling.id))
    assert shop.orders_of(user) == {order: "open"}
    shop.recover()
    assert shop.status_of_user(user) is None
    assert shop.orders_of(user) == {order: "cancelled"}
    assert shop.stock_of(vase) == 5
