"""Place an order, cancel one, remove a user: each happens completely or not at all."""

from __future__ import annotations

import random
import threading

import pytest
from eager_shop import EagerShop


def test_an_order_takes_the_goods_out_of_stock(shop: EagerShop, user: int, teapot: int) -> None:
    order = shop.place_order(user, {teapot: 3})
    assert shop.stock_of(teapot) == 7
    assert shop.orders_of(user) == {order: "open"}


def test_a_cancelled_order_puts_them_back(shop: EagerShop, user: int, teapot: int) -> None:
    order = shop.place_order(user, {teapot: 3})
    shop.cancel(order).expect(200)
    assert shop.stock_of(teapot) == 10
    assert shop.orders_of(user) == {order: "cancelled"}


def test_removing_a_user_cancels_the_open_orders_and_puts_their_goods_back(
    shop: EagerShop, user: int, teapot: int
) -> None:
    kettle = shop.add_product("kettle", stock=5)
    first, second = shop.place_order(user, {teapot: 3}), shop.place_order(user, {kettle: 2, teapot: 1})
    other = shop.add_user("Grace")
    theirs = shop.place_order(other, {teapot: 1})
    shop.remove_user(user).expect(200)
    assert shop.status_of_user(user) is None
    assert shop.orders_of(user) == {first: "cancelled", second: "cancelled"}
    assert shop.orders_of(other) == {theirs: "open"}
    assert (shop.stock_of(teapot), shop.stock_of(kettle)) == (9, 5)


def test_fulfilled_and_cancelled_orders_of_a_removed_user_stay_as_history(
    shop: EagerShop, user: int, teapot: int
) -> None:
    fulfilled, cancelled = shop.place_order(user, {teapot: 2}), shop.place_order(user, {teapot: 3})
    shop.fulfil(fulfilled).expect(200)
    shop.cancel(cancelled).expect(200)
    shop.remove_user(user).expect(200)
    assert shop.orders_of(user) == {fulfilled: "fulfilled", cancelled: "cancelled"}
    assert shop.stock_of(teapot) == 8


def test_a_user_without_orders_is_removed_too(shop: EagerShop, user: int) -> None:
    shop.remove_user(user).expect(200)
    assert shop.status_of_user(user) is None


def test_a_price_is_the_one_of_the_moment_the_order_was_placed(shop: EagerShop, user: int, teapot: int) -> None:
    order = shop.place_order(user, {teapot: 3})
    shop.call("products", "PATCH", f"/products/{teapot}", {"price": 1}).expect(200)
    assert shop.get("orders", f"/orders/{order}")["total"] == 3 * 1999


def test_the_last_piece_is_sold_once(shop: EagerShop, user: int) -> None:
    last = shop.add_product("last", stock=1)
    shop.place_order(user, {last: 1})
    shop.ask_to_place_order(user, {last: 1}).problem(409, "refused")
    assert shop.stock_of(last) == 0


def test_goods_come_back_up_to_the_very_brim_of_the_warehouse(shop: EagerShop, user: int) -> None:
    vase = shop.add_product("vase", stock=5, capacity=5)
    order = shop.place_order(user, {vase: 5})
    shop.cancel(order).expect(200)
    assert shop.stock_of(vase) == 5


@pytest.mark.parametrize("seed", range(3))
def test_whatever_a_crowd_does_at_once_the_goods_add_up_in_the_end(shop: EagerShop, seed: int) -> None:
    """Four clients on three users and three products, each with its own sequence; the law is checked after the test."""
    users = [shop.add_user(name) for name in ("Ada", "Grace", "Mary")]
    products = [shop.add_product("p", stock=6, capacity=capacity) for capacity in (None, 6, 8)]
    together, answers = threading.Barrier(4), []

    def client(number: int) -> None:
        chance = random.Random(f"{seed}-{number}")
        together.wait()
        for _ in range(10):
            user, amount = chance.choice(users), chance.randint(1, 3)
            wanted = dict.fromkeys(chance.sample(products, chance.randint(1, 3)), amount)
            order = chance.randint(1, 12)
            ask = chance.choice(
                [
                    lambda: shop.ask_to_place_order(user, wanted, Prefer="respond-async"),  # noqa: B023
                    lambda: shop.ask_to_place_order(user, wanted, Prefer="respond-async"),  # noqa: B023
                    lambda: shop.cancel(order, Prefer="respond-async"),  # noqa: B023
                    lambda: shop.fulfil(order),  # noqa: B023
                    lambda: shop.adjust_stock(chance.choice(products), amount),  # noqa: B023
                    lambda: shop.remove_user(user, Prefer="respond-async"),  # noqa: B023
                ]
            )
            answers.append(ask())

    clients = [threading.Thread(target=client, args=(number,)) for number in range(4)]
    for thread in clients:
        thread.start()
    for thread in clients:
        thread.join()
    assert len(answers) == 40
    assert {answer.status for answer in answers} <= {200, 202, 404, 409, 503}, answers
    shop.recover(rounds=60)
