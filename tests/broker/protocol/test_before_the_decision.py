"""A removal that is prepared everywhere and decided nowhere: nobody sees anything of it yet."""

from __future__ import annotations

from tests.broker.http_calls import call
from tests.broker.shopkeeper import ASYNC, Shopkeeper


def test_until_it_is_decided_every_reader_sees_the_shop_as_it_was(shop: Shopkeeper) -> None:
    ada, tea = shop.add_user(), shop.add_product(stock=10)
    first, second = shop.placed_order(ada, {tea: 3}), shop.placed_order(ada, {tea: 1})
    sent = shop.placed_order(ada, {tea: 1})
    shop.fulfil(sent)
    with shop.down("users-outcome-worker"):
        removal = shop.remove_user(ada, **ASYNC)
        prepared = shop.wait_prepared(removal, 2)
        assert prepared == [branch["task_id"] for branch in shop.branches(removal)], "the gids are the task ids"
        assert shop.user_status(ada) == "removing"
        assert [shop.order_status(order) for order in (first, second, sent)] == ["open", "open", "fulfilled"]
        assert shop.orders_of(ada, "open") == [first, second]
        assert shop.stock_of(tea) == 5
        told = shop.get("users", removal.headers["Location"]).body
        assert (told["state"], told["decision"]) == ("preparing", None)
        assert [(b["status"], b["vote"]) for b in told["branches"]] == [("SUCCESS", None)] * 2
    assert shop.settled(removal) == "committed"
    assert shop.user_status(ada) is None
    assert [shop.order_status(order) for order in (first, second, sent)] == ["cancelled", "cancelled", "fulfilled"]
    assert shop.stock_of(tea) == 9


def test_until_it_is_decided_other_users_order_and_cancel_as_ever(shop: Shopkeeper) -> None:
    ada, bob = shop.add_user("Ada"), shop.add_user("Bob")
    tea, cups = shop.add_product("Tea"), shop.add_product("Cups")
    shop.placed_order(ada, {tea: 3})
    early = shop.placed_order(bob, {cups: 1})
    with shop.down("users-outcome-worker"):
        removal = shop.remove_user(ada, **ASYNC)
        shop.wait_prepared(removal, 2)
        placed = [shop.place_order(bob, {cups: 1}) for _ in range(3)]
        assert [answer.status for answer in placed] == [201] * 3, placed
        cancelled = [shop.cancel(order) for order in (early, placed[0].order_id)]
        assert [answer.status for answer in cancelled] == [200] * 2, cancelled
        assert shop.row(removal)["state"] == "preparing"
        assert len(shop.prepared(removal)) == 2
    assert shop.settled(removal) == "committed"
    assert (len(shop.orders_of(bob, "open")), shop.stock_of(cups), shop.stock_of(tea)) == (2, 8, 10)


def test_an_order_for_goods_that_a_removal_holds_is_placed_once_it_is_decided(shop: Shopkeeper) -> None:
    ada, bob, tea = shop.add_user("Ada"), shop.add_user("Bob"), shop.add_product(stock=3)
    shop.placed_order(ada, {tea: 3})
    with shop.down("users-outcome-worker"):
        removal = shop.remove_user(ada, **ASYNC)
        shop.wait_prepared(removal, 2)
        placing = shop.place_order(bob, {tea: 3}, Prefer="wait=1")
        assert placing.status == 202, placing
    assert shop.settled(removal) == "committed"
    assert shop.settled(placing) == "committed"
    assert shop.stock_of(tea) == 0


def test_a_clerk_who_meets_a_row_that_is_in_doubt_is_told_to_come_back(shop: Shopkeeper) -> None:
    ada, tea = shop.add_user(), shop.add_product(stock=10)
    order = shop.placed_order(ada, {tea: 3})
    with shop.down("users-outcome-worker"):
        removal = shop.remove_user(ada, **ASYNC)
        shop.wait_prepared(removal, 2)
        stock = call("POST", f"{shop.shop.url('products')}/products/{tea}/stock", {"delta": 1})
        for answer in (stock, shop.fulfil(order)):
            assert (answer.status, answer.body["type"]) == (503, "/problems/conflict-busy")
            assert answer.headers["Retry-After"]
            assert answer.seconds < 5, answer
    assert shop.settled(removal) == "committed"
    assert (shop.order_status(order), shop.stock_of(tea)) == ("cancelled", 10)
