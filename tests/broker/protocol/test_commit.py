"""Each of the three operations, done to its end."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from atomic_commit.names import Gid
from tests.broker.http_calls import Answer
from tests.broker.shopkeeper import Shopkeeper
from tests.broker.waiting import wait_until
from tests.installation import INSTALLATION


def place(shop: Shopkeeper) -> Answer:
    return shop.place_order(shop.add_user(), {shop.add_product(): 3})


def cancel(shop: Shopkeeper) -> Answer:
    return shop.cancel(shop.placed_order(shop.add_user(), {shop.add_product(): 3}))


def remove(shop: Shopkeeper) -> Answer:
    ada = shop.add_user()
    shop.placed_order(ada, {shop.add_product(): 3})
    return shop.remove_user(ada)


def test_a_placed_order_stands_and_its_goods_have_left_the_stock(shop: Shopkeeper) -> None:
    ada, tea, cups = shop.add_user(), shop.add_product("Tea", price=500), shop.add_product("Cups", price=900)
    answer = shop.place_order(ada, {tea: 3, cups: 1})
    assert answer.status == 201, answer
    assert answer.headers["Location"] == f"/orders/{answer.order_id}"
    order = shop.get("orders", answer.headers["Location"]).body
    assert order == answer.body["order"]
    assert (order["status"], order["user_id"], order["total"]) == ("open", ada, 3 * 500 + 900)
    assert (shop.stock_of(tea), shop.stock_of(cups)) == (7, 9)


def test_a_cancelled_order_has_put_its_goods_back(shop: Shopkeeper) -> None:
    ada, tea = shop.add_user(), shop.add_product(stock=10)
    order = shop.placed_order(ada, {tea: 4})
    answer = shop.cancel(order)
    assert answer.status == 200, answer
    assert answer.body["order"]["status"] == "cancelled"
    assert shop.order_status(order) == "cancelled"
    assert shop.stock_of(tea) == 10


def test_a_removed_user_takes_open_orders_along_and_leaves_fulfilled_ones(shop: Shopkeeper) -> None:
    ada, tea, cups = shop.add_user(), shop.add_product("Tea"), shop.add_product("Cups")
    first, second, sent = (shop.placed_order(ada, wish) for wish in ({tea: 2}, {tea: 1, cups: 5}, {cups: 1}))
    assert shop.fulfil(sent).status == 200
    answer = shop.remove_user(ada)
    assert answer.status == 200, answer
    assert shop.user_status(ada) is None
    assert [shop.order_status(order) for order in (first, second, sent)] == ["cancelled", "cancelled", "fulfilled"]
    assert (shop.stock_of(tea), shop.stock_of(cups)) == (10, 9)


@pytest.mark.parametrize("operation", [place, cancel, remove])
def test_every_task_of_the_chain_reports_success_under_its_branch_s_gid(
    shop: Shopkeeper, operation: Callable[[Shopkeeper], Answer]
) -> None:
    answer = operation(shop)
    assert answer.status in (200, 201), answer
    transaction = answer.body["transaction"]
    assert (transaction["state"], transaction["attempt"]) == ("committed", 1)
    for branch in transaction["branches"]:
        gid = Gid.parse(branch["task_id"])
        assert (str(gid.transaction), gid.attempt, gid.branch) == (answer.transaction, 1, branch["name"])
        result = shop.result_of(branch["task_id"])
        assert result.status == "SUCCESS"
        assert branch["task_id"] in result.result["prepared"]
        assert (branch["status"], branch["vote"], branch["outcome"]) == ("SUCCESS", "yes", "commit")
    row = shop.row(answer)
    kind = f"{row['service']}.{row['kind']}"
    decide = shop.result_of(f"{INSTALLATION}:{kind}:{answer.transaction}:1:{row['service']}.decide")
    wait_until(lambda: decide.status == "SUCCESS", "the chain's last task reports success", within=10)
    assert decide.result == "committed"


@pytest.mark.parametrize("operation", [place, cancel, remove])
def test_a_client_that_does_not_wait_is_told_where_to_look(
    shop: Shopkeeper, operation: Callable[[Shopkeeper], Answer]
) -> None:
    """The same three with ``Prefer: respond-async``, each decided with no further request."""
    ada, tea = shop.add_user(), shop.add_product()
    order = shop.placed_order(ada, {tea: 1})
    answer = {
        place: lambda: shop.place_order(ada, {tea: 1}, Prefer="respond-async"),
        cancel: lambda: shop.cancel(order, Prefer="respond-async"),
        remove: lambda: shop.remove_user(ada, Prefer="respond-async"),
    }[operation]()
    assert answer.status == 202, answer
    assert answer.headers["Location"] == f"/transactions/{answer.transaction}"
    assert shop.settled(answer) == "committed"
    told = shop.get(shop.row(answer)["service"], answer.headers["Location"]).body
    assert (told["state"], told["settled"]) == ("committed", True)
