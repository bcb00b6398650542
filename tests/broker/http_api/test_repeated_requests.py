"""A request that is sent more than once is done once."""

from __future__ import annotations

import uuid

from tests.broker.http_calls import Answer
from tests.broker.shopkeeper import ASYNC, Shopkeeper
from tests.broker.waiting import at_once


def _key() -> dict[str, str]:
    return {"Idempotency-Key": str(uuid.uuid4())}


def assert_all_say_the_same(shop: Shopkeeper, answers: list[Answer]) -> None:
    assert len({answer.transaction for answer in answers}) == 1, answers
    assert {shop.settled(answer) for answer in answers} == {"committed"}
    assert {answer.status for answer in answers} <= {200, 201, 202}, answers
    assert len({answer.status for answer in answers if answer.status != 202}) <= 1, answers


def test_a_removal_sent_eight_times_at_once_under_one_key_is_done_once(shop: Shopkeeper) -> None:
    ada, tea, key = shop.add_user(), shop.add_product(stock=10), _key()
    shop.placed_order(ada, {tea: 3})
    answers = at_once([lambda: shop.remove_user(ada, **key)] * 8)
    assert_all_say_the_same(shop, answers)
    assert (shop.user_status(ada), shop.stock_of(tea)) == (None, 10)


def test_an_order_sent_eight_times_at_once_under_one_key_is_placed_once(shop: Shopkeeper) -> None:
    ada, tea, key = shop.add_user(), shop.add_product(stock=10), _key()
    answers = at_once([lambda: shop.place_order(ada, {tea: 3}, **key)] * 8)
    assert_all_say_the_same(shop, answers)
    assert len({answer.order_id for answer in answers if answer.status == 201}) <= 1
    assert (len(shop.orders_of(ada)), shop.stock_of(tea)) == (1, 7)


def test_a_request_repeated_under_its_key_after_the_end_is_answered_as_before(shop: Shopkeeper) -> None:
    ada, tea = shop.add_user(), shop.add_product(stock=10)
    placing, cancelling, removing = _key(), _key(), _key()
    placed = shop.place_order(ada, {tea: 3}, **placing)
    assert shop.place_order(ada, {tea: 3}, **placing).body["order"] == placed.body["order"]
    cancelled = shop.cancel(placed.order_id, **cancelling)
    again = shop.cancel(placed.order_id, **cancelling)
    assert (again.status, again.body["order"]) == (cancelled.status, cancelled.body["order"])
    removed = shop.remove_user(ada, **removing)
    again = shop.remove_user(ada, **removing)
    assert (again.status, again.transaction) == (removed.status, removed.transaction) == (200, removed.transaction)
    assert shop.stock_of(tea) == 10


def test_a_key_used_for_another_request_is_rejected(shop: Shopkeeper) -> None:
    ada, tea, key = shop.add_user(), shop.add_product(stock=10), _key()
    assert shop.place_order(ada, {tea: 1}, **key).status == 201
    answer = shop.place_order(ada, {tea: 2}, **key)
    assert (answer.status, answer.body["type"]) == (422, "/problems/idempotency-key-reused")
    assert shop.stock_of(tea) == 9


def test_a_removal_whose_answer_was_lost_with_the_broker_down_is_joined_by_its_repetition(shop: Shopkeeper) -> None:
    ada, key = shop.add_user(), _key()
    with shop.down(shop.broker):
        first = shop.remove_user(ada, **key, **ASYNC)
        assert first.status == 202, first
    second = shop.remove_user(ada, **key)
    assert second.transaction == first.transaction
    assert shop.settled(second) == "committed"
