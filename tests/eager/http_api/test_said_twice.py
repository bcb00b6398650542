"""Idempotency-Key: one request, however often it is sent, and the same answer every time."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from eager_shop import Answer, EagerShop

KEY = "8e03978e-40d5-43dd-bc93-6894a57f9324"


def asking(shop: EagerShop, user: int, product: int) -> dict[str, Callable[..., Answer]]:
    """The three distributed calls on things that are there for them."""
    order = shop.place_order(user, {product: 1})
    return {
        "place": lambda **headers: shop.ask_to_place_order(user, {product: 2}, **headers),
        "cancel": lambda **headers: shop.cancel(order, **headers),
        "remove": lambda **headers: shop.remove_user(user, **headers),
    }


each_call = pytest.mark.parametrize("verb", ["place", "cancel", "remove"])


@each_call
def test_a_repeated_request_is_done_once_and_answered_alike(shop: EagerShop, user: int, teapot: int, verb: str) -> None:
    ask = asking(shop, user, teapot)[verb]
    first = ask(Idempotency_Key=KEY)
    assert first.status in (200, 201), first
    everything = shop.everything()
    for _ in range(3):
        again = ask(Idempotency_Key=KEY)
        assert (again.status, again.json) == (first.status, first.json)
        assert again.headers.get("Location") == first.headers.get("Location")
    assert shop.everything() == everything


@each_call
def test_without_a_key_a_repetition_is_another_request(shop: EagerShop, user: int, teapot: int, verb: str) -> None:
    ask = asking(shop, user, teapot)[verb]
    first, second = ask(), ask()
    assert first.status in (200, 201), first
    assert second.status == {"place": 201, "cancel": 409, "remove": 404}[verb], second


def test_the_two_spellings_of_a_key_are_one_key(shop: EagerShop, user: int, teapot: int) -> None:
    first = shop.ask_to_place_order(user, {teapot: 1}, Idempotency_Key=KEY).expect(201)
    second = shop.ask_to_place_order(user, {teapot: 1}, Idempotency_Key=f'"{KEY}"').expect(201)
    assert first.json == second.json


def test_the_spelling_of_the_body_does_not_count(shop: EagerShop, user: int, teapot: int) -> None:
    bodies = [
        f'{{"user_id": {user}, "lines": [{{"product_id": {teapot}, "quantity": 1}}]}}',
        f'{{"lines":[{{"quantity":1,"product_id":{teapot}}}],"user_id":{user}}}',
    ]
    answers = [
        shop.call(
            "orders",
            "POST",
            "/orders",
            headers={"Idempotency-Key": KEY},
            data=body,
            content_type="application/json",
        ).expect(201)
        for body in bodies
    ]
    assert answers[0].json == answers[1].json
    assert shop.stock_of(teapot) == 9


def test_a_key_with_another_body_is_refused(shop: EagerShop, user: int, teapot: int) -> None:
    shop.ask_to_place_order(user, {teapot: 1}, Idempotency_Key=KEY).expect(201)
    for lines in ({teapot: 2}, {teapot + 1: 1}):
        shop.ask_to_place_order(user, lines, Idempotency_Key=KEY).problem(422, "idempotency-key-reused")
    assert shop.stock_of(teapot) == 9


def test_a_key_for_another_thing_is_refused(shop: EagerShop, user: int, teapot: int) -> None:
    grace = shop.add_user("Grace")
    orders = [shop.place_order(user, {teapot: 1}) for _ in range(2)]
    shop.cancel(orders[0], Idempotency_Key=KEY).expect(200)
    shop.cancel(orders[1], Idempotency_Key=KEY).problem(422, "idempotency-key-reused")
    shop.remove_user(user, Idempotency_Key=KEY).expect(200)
    shop.remove_user(grace, Idempotency_Key=KEY).problem(422, "idempotency-key-reused")
    assert shop.status_of_user(grace) == "active"


def test_the_same_key_on_another_route_is_another_key(shop: EagerShop, user: int, teapot: int) -> None:
    order = shop.ask_to_place_order(user, {teapot: 1}, Idempotency_Key=KEY).expect(201).json["order"]["id"]
    shop.cancel(order, Idempotency_Key=KEY).expect(200)
    shop.remove_user(user, Idempotency_Key=KEY).expect(200)
    assert shop.orders_of(user) == {order: "cancelled"}


def test_callers_do_not_share_their_keys(shop: EagerShop, user: int, teapot: int) -> None:
    ids = [
        shop.ask_to_place_order(user, {teapot: 1}, Idempotency_Key=KEY, **caller).expect(201).json["order"]["id"]
        for caller in ({}, {"Authorization": "Bearer ada"}, {"Authorization": "Bearer grace"})
    ]
    assert len(set(ids)) == 3
    again = shop.ask_to_place_order(user, {teapot: 1}, Idempotency_Key=KEY, Authorization="Bearer ada").expect(201)
    assert again.json["order"]["id"] == ids[1]
    assert shop.stock_of(teapot) == 7


def test_credentials_are_not_kept(shop: EagerShop, user: int) -> None:
    shop.remove_user(user, Idempotency_Key=KEY, Authorization="Bearer secret").expect(200)
    assert "secret" not in str(shop.everything())


def test_a_refusal_is_repeated_too_even_when_the_reason_is_gone(shop: EagerShop, user: int, teapot: int) -> None:
    first = shop.ask_to_place_order(user, {teapot: 11}, Idempotency_Key=KEY)
    first.problem(409, "refused")
    shop.adjust_stock(teapot, 1).expect(200)
    again = shop.ask_to_place_order(user, {teapot: 11}, Idempotency_Key=KEY)
    assert (again.status, again.json) == (first.status, first.json)
    shop.ask_to_place_order(user, {teapot: 11}, Idempotency_Key="another").expect(201)


def test_a_refused_removal_is_repeated_too(shop: EagerShop, user: int) -> None:
    vase = shop.add_product("vase", stock=1, capacity=1)
    shop.place_order(user, {vase: 1})
    shop.adjust_stock(vase, 1).expect(200)
    first = shop.remove_user(user, Idempotency_Key=KEY)
    assert first.problem(409, "refused")["reason"] == "no_room"
    shop.adjust_stock(vase, -1).expect(200)
    assert shop.remove_user(user, Idempotency_Key=KEY).json == first.json
    assert shop.status_of_user(user) == "active"


def test_what_was_never_accepted_does_not_use_up_the_key(shop: EagerShop, user: int, teapot: int) -> None:
    """Bad input, a refusal at the door or a locked row leave nothing behind that could be replayed."""
    shop.call("orders", "POST", "/orders", {"user_id": "x", "lines": []}, headers={"Idempotency-Key": KEY}).problem(
        422, "validation"
    )
    shop.ask_to_place_order(user, {teapot: 1}, Idempotency_Key=KEY).expect(201)
    with shop.locked("users", "SELECT 1 FROM users FOR UPDATE"):
        shop.remove_user(user, Idempotency_Key=KEY).problem(503, "conflict-busy")
    shop.remove_user(user, Idempotency_Key=KEY).expect(200)


def test_a_repetition_joins_what_is_not_decided_yet(shop: EagerShop, user: int, teapot: int) -> None:
    shop.place_order(user, {teapot: 3})
    with shop.post.loses():
        first = shop.remove_user(user, Idempotency_Key=KEY, Prefer="respond-async").expect(202)
        second = shop.remove_user(user, Idempotency_Key=KEY, Prefer="respond-async").expect(202)
    assert first.json["transaction"]["id"] == second.json["transaction"]["id"]
    shop.recover()
    third = shop.remove_user(user, Idempotency_Key=KEY).expect(200)
    assert third.json["transaction"]["id"] == first.json["transaction"]["id"]
    assert third.json["transaction"]["state"] == "committed"


def test_a_client_may_wait_differently_when_it_asks_again(shop: EagerShop, user: int, teapot: int) -> None:
    first = shop.ask_to_place_order(user, {teapot: 1}, Idempotency_Key=KEY, Prefer="respond-async").expect(202)
    again = shop.ask_to_place_order(user, {teapot: 1}, Idempotency_Key=KEY, Prefer="wait=3").expect(201)
    assert again.json["transaction"]["id"] == first.json["transaction"]["id"]
    assert again.headers["Preference-Applied"] == "wait=3"


@each_call
def test_of_requests_with_one_key_at_the_same_time_one_is_done_and_all_get_its_answer(
    shop: EagerShop, user: int, teapot: int, verb: str
) -> None:
    ask = asking(shop, user, teapot)[verb]
    together, answers = threading.Barrier(4), []

    def client() -> None:
        together.wait()
        answer = ask(Idempotency_Key=KEY)
        while answer.status == 503:  # who waited too long for the one that was first is asked to come back, and does
            answer = ask(Idempotency_Key=KEY)
        answers.append(answer)

    clients = [threading.Thread(target=client) for _ in range(4)]
    for thread in clients:
        thread.start()
    for thread in clients:
        thread.join()
    assert {answer.status for answer in answers} <= {200, 201}, answers
    assert len({answer.json["transaction"]["id"] for answer in answers}) == 1, answers
    assert len(shop.orders_of(user)) == (2 if verb == "place" else 1)


# ---- "a retryable abort frees its key"


def given_up(shop: EagerShop, user: int, teapot: int) -> Answer:
    """A placing that was given up after its retries, because a row was locked all the time."""
    with shop.locked("products", "SELECT 1 FROM products FOR UPDATE"):
        accepted = shop.ask_to_place_order(user, {teapot: 1}, Idempotency_Key=KEY, Prefer="respond-async").expect(202)
        shop.deadline_passes()
        shop.time_passes(8)
        shop.sweep()
    shop.recover()
    return accepted


def test_a_request_that_was_given_up_may_be_sent_again_with_its_key(shop: EagerShop, user: int, teapot: int) -> None:
    first = given_up(shop, user, teapot).json["transaction"]["id"]
    assert shop.transaction("orders", first)["state"] == "aborted"
    again = shop.ask_to_place_order(user, {teapot: 1}, Idempotency_Key=KEY).expect(201)
    assert again.json["transaction"]["id"] != first
    third = shop.ask_to_place_order(user, {teapot: 1}, Idempotency_Key=KEY).expect(201)
    assert third.json["transaction"]["id"] == again.json["transaction"]["id"], "and that one is replayed"
    assert shop.stock_of(teapot) == 9


def test_a_key_that_was_freed_is_free_for_another_request_too(shop: EagerShop, user: int, teapot: int) -> None:
    given_up(shop, user, teapot)
    shop.ask_to_place_order(user, {teapot: 2}, Idempotency_Key=KEY).expect(201)
    assert shop.stock_of(teapot) == 8
