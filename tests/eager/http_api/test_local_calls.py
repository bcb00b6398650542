"""What one service does by itself: once for an Idempotency-Key, and never said not to be done where it may be."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest
from eager_shop import Answer, EagerShop
from eager_wire import Wire, wired

from atomic_commit import Lost
from atomic_commit.journal.local_calls import LocalCalls
from atomic_commit.postgres.confirmed import Confirmation

KEY = {"Idempotency-Key": "one-change"}


@dataclass(frozen=True)
class Write:
    """A local call that changes something each time it is done, and how to see how often it was."""

    service: str
    method: str
    path: str
    body: dict[str, Any] | None
    done: Callable[[EagerShop], int]


#: name → the call, for the user, product and order that the shop has.
WRITES: dict[str, Callable[[int, int, int], Write]] = {
    "add a user": lambda user, product, order: Write(
        "users", "POST", "/users", {"name": "Grace", "email": "grace@shop.example"}, lambda shop: _named(shop, "Grace")
    ),
    "change a user": lambda user, product, order: Write(
        "users", "PATCH", f"/users/{user}", {"name": "Grace"}, lambda shop: _named(shop, "Grace")
    ),
    "add a product": lambda user, product, order: Write(
        "products",
        "POST",
        "/products",
        {"name": "cup", "price": 5, "stock": 3},
        lambda shop: len([row for row in shop.get("products", "/products") if row["name"] == "cup"]),
    ),
    "change a product": lambda user, product, order: Write(
        "products",
        "PATCH",
        f"/products/{product}",
        {"price": 7},
        lambda shop: int(shop.get("products", f"/products/{product}")["price"] == 7),
    ),
    "adjust the stock": lambda user, product, order: Write(
        "products", "POST", f"/products/{product}/stock", {"delta": 1}, lambda shop: shop.stock_of(product) - 6
    ),
    "fulfil an order": lambda user, product, order: Write(
        "orders",
        "POST",
        f"/orders/{order}/fulfil",
        None,
        lambda shop: int(shop.status_of_order(order) == "fulfilled"),
    ),
}


def _named(shop: EagerShop, name: str) -> int:
    return len([row for row in shop.get("users", "/users") if row["name"] == name])


@pytest.fixture(params=WRITES)
def write(request: pytest.FixtureRequest, shop: EagerShop, user: int, teapot: int, order: int) -> Write:
    return WRITES[request.param](user, teapot, order)


@pytest.fixture
def wire(shop: EagerShop, write: Write) -> Iterator[Wire]:
    """What the service that is asked to write reaches its database by."""
    with wired(shop, write.service) as wire:
        yield wire


def ask(shop: EagerShop, write: Write, headers: dict[str, str] | None = None, body: Any = None) -> Answer:
    return shop.call(write.service, write.method, write.path, body or write.body, headers=headers)


def told(answer: Answer) -> tuple[int, str | None, Any]:
    """What a client is told: status, Location and body."""
    return answer.status, answer.headers.get("Location"), answer.json


@pytest.mark.leaves("unbalanced")  # who counts what was put in by the answers, counts a replay twice
def test_a_key_sent_again_is_answered_the_same_and_nothing_is_done(shop: EagerShop, write: Write) -> None:
    first = ask(shop, write, KEY)
    assert first.status in (200, 201)
    assert told(ask(shop, write, KEY)) == told(first)
    assert write.done(shop) == 1


def test_a_key_is_one_route_s_and_one_request_s(shop: EagerShop, teapot: int) -> None:
    path = f"/products/{teapot}/stock"
    shop.call("products", "POST", path, {"delta": 1}, headers=KEY).expect(200)
    answer = shop.call("products", "POST", path, {"delta": 2}, headers=KEY)
    answer.problem(422, "idempotency-key-reused")
    another = shop.add_product("cup")
    shop.call("products", "POST", f"/products/{another}/stock", {"delta": 1}, headers=KEY).problem(
        422, "idempotency-key-reused"
    )
    shop.call("products", "PATCH", f"/products/{teapot}", {"price": 7}, headers=KEY).expect(200)
    somebody_else = KEY | {"Authorization": "Bearer other"}
    shop.call("products", "POST", path, {"delta": 1}, headers=somebody_else).expect(200)
    assert shop.stock_of(teapot) == 12


def test_a_key_that_can_t_be_read_is_said_to_be_and_nothing_is_done(shop: EagerShop, write: Write) -> None:
    ask(shop, write, {"Idempotency-Key": "two words, and no quotes"}).problem(400, "invalid-header")
    assert write.done(shop) == 0


def test_a_refusal_is_not_kept(shop: EagerShop, teapot: int) -> None:
    path = f"/products/{teapot}/stock"
    shop.call("products", "POST", path, {"delta": -11}, headers=KEY).problem(409, "refused")
    shop.call("products", "POST", path, {"delta": 1}).expect(200)
    shop.call("products", "POST", path, {"delta": -11}, headers=KEY).expect(200)
    assert shop.stock_of(teapot) == 0


def test_an_e_mail_that_is_taken_leaves_no_key_behind(shop: EagerShop, user: int) -> None:
    [email] = [row["email"] for row in shop.get("users", "/users")]
    taken = {"name": "Grace", "email": email}
    for _ in range(2):
        shop.call("users", "POST", "/users", taken, headers=KEY).problem(409, "refused")
    assert shop.query("users", "SELECT count(*) FROM local_calls") == [(0,)]


@pytest.mark.leaves("unbalanced")
@pytest.mark.parametrize("headers", [{}, KEY], ids=["without-a-key", "with-a-key"])
@pytest.mark.parametrize("reached", [True, False], ids=["committed", "not-committed"])
def test_what_may_be_done_is_never_said_not_to_be(
    shop: EagerShop, write: Write, wire: Wire, headers: dict[str, str], reached: bool
) -> None:
    """The connection is cut at COMMIT: before it, or after it and before its answer."""
    wire.cut_at("COMMIT", reached=reached)
    answer = ask(shop, write, headers)
    assert wire.cuts == 1
    detail = answer.problem(504, "outcome-unknown")["detail"]
    assert ("Retry-After" in answer.headers) == bool(headers), "what repeats by itself would do it twice"
    assert ("same Idempotency-Key" in detail) == bool(headers)
    assert write.done(shop) == int(reached)
    if headers:
        assert ask(shop, write, headers).status in (200, 201)
        assert write.done(shop) == 1


def test_one_whose_database_is_away_before_it_is_committed_has_changed_nothing(
    shop: EagerShop, write: Write, wire: Wire
) -> None:
    wire.cut_at("INSERT INTO local_calls", reached=True)
    ask(shop, write, KEY).problem(503, "unavailable")
    assert write.done(shop) == 0


@pytest.mark.leaves("unbalanced")
def test_those_who_come_at_the_same_moment_with_one_key_do_it_once(shop: EagerShop, teapot: int) -> None:
    path, all_there = f"/products/{teapot}/stock", threading.Barrier(8)

    def change(_: int) -> Answer:
        all_there.wait()
        return shop.call("products", "POST", path, {"delta": 1}, headers=KEY)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(change, range(8)))
    assert {answer.expect(200).json["stock"] for answer in answers} == {11}
    assert shop.stock_of(teapot) == 11


def test_one_that_comes_while_the_other_is_at_it_waits_and_then_says_so(shop: EagerShop, teapot: int) -> None:
    claim = (
        "INSERT INTO local_calls (caller, route, key, fingerprint)"
        " VALUES ('anonymous', 'POST /products/<int:product_id>/stock', 'one-change', 'another')"
    )
    path = f"/products/{teapot}/stock"
    with shop.locked("products", claim):
        answer = shop.call("products", "POST", path, {"delta": 1}, headers=KEY)
    answer.problem(503, "conflict-busy")
    shop.call("products", "POST", path, {"delta": 1}, headers=KEY).expect(200)
    assert shop.stock_of(teapot) == 11


@pytest.mark.leaves("unbalanced")
def test_a_replay_is_not_told_before_what_it_tells_is_known_to_stay(
    shop: EagerShop, teapot: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its commit may have been cut short in its wait for a synchronous standby."""
    path = f"/products/{teapot}/stock"
    first = shop.call("products", "POST", path, {"delta": 1}, headers=KEY)

    def not_yet(_: Confirmation) -> None:
        raise Lost("the standby does not answer")

    with monkeypatch.context() as patch:
        patch.setattr(Confirmation, "wait", not_yet)
        shop.call("products", "POST", path, {"delta": 1}, headers=KEY).problem(504, "outcome-unknown")
    assert told(shop.call("products", "POST", path, {"delta": 1}, headers=KEY)) == told(first)


def test_every_unsafe_call_of_the_shop_honours_the_key(shop: EagerShop) -> None:
    """Those that begin a transaction do so by the journal, all others by ``local_calls``."""
    unsafe = {
        f"{method} {rule.rule}"
        for app in shop.apps.values()
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"GET", "HEAD", "OPTIONS"}
    }
    begin = {"DELETE /users/<int:user_id>", "POST /orders", "POST /orders/<int:order_id>/cancel"}
    local = {
        "POST /users",
        "PATCH /users/<int:user_id>",
        "POST /products",
        "PATCH /products/<int:product_id>",
        "POST /products/<int:product_id>/stock",
        "POST /orders/<int:order_id>/fulfil",
    }
    assert unsafe == begin | local, "an unsafe call that is not listed, and not tried here"
    assert len(WRITES) == len(local)


@pytest.mark.loud
def test_a_claim_that_was_rolled_back_is_free(shop: EagerShop, teapot: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("nobody expects this")

    path = f"/products/{teapot}/stock"
    with monkeypatch.context() as patch:
        patch.setattr(LocalCalls, "keep", broken)
        shop.call("products", "POST", path, {"delta": 1}, headers=KEY).problem(500, "internal-error")
    assert shop.stock_of(teapot) == 10
    shop.call("products", "POST", path, {"delta": 1}, headers=KEY).expect(200)
