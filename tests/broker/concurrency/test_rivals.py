"""Many who want the same thing at the same moment."""

from __future__ import annotations

from collections import Counter

from tests.broker.http_calls import Answer
from tests.broker.shopkeeper import ASYNC, Shopkeeper
from tests.broker.waiting import Meanwhile, at_once


def test_of_two_removals_of_one_user_at_once_exactly_one_commits(shop: Shopkeeper) -> None:
    ada, tea = shop.add_user(), shop.add_product(stock=10)
    shop.placed_order(ada, {tea: 3})
    answers = at_once([lambda: shop.remove_user(ada)] * 2)
    accepted = [answer for answer in answers if answer.status in (200, 202)]
    assert len(accepted) == 1, answers
    assert shop.settled(accepted[0]) == "committed"
    (other,) = (answer for answer in answers if answer is not accepted[0])
    assert other.status in (404, 409), other
    if other.status == 409:
        assert (other.body["reason"], other.transaction) == ("user_is_being_removed", accepted[0].transaction)
    assert (shop.user_status(ada), shop.stock_of(tea)) == (None, 10)


def test_of_five_cancellations_of_one_order_at_once_exactly_one_commits(shop: Shopkeeper) -> None:
    ada, tea = shop.add_user(), shop.add_product(stock=10)
    order = shop.placed_order(ada, {tea: 3})
    answers = at_once([lambda: shop.cancel(order)] * 5)
    assert Counter(shop.fate(answer) for answer in answers) == {"committed": 1, "409": 4}, answers
    assert (shop.order_status(order), shop.stock_of(tea)) == ("cancelled", 10)


def test_a_cancellation_and_the_removal_of_its_user_put_the_goods_back_once(shop: Shopkeeper) -> None:
    ada, tea = shop.add_user(), shop.add_product(stock=10)
    order = shop.placed_order(ada, {tea: 3})
    cancellation, removal = at_once([lambda: shop.cancel(order), lambda: shop.remove_user(ada)])
    assert shop.fate(removal) == "committed"
    assert shop.fate(cancellation) in ("committed", "409", "503"), cancellation
    assert (shop.user_status(ada), shop.order_status(order), shop.stock_of(tea)) == (None, "cancelled", 10)


def test_no_order_of_a_removed_user_is_open_however_many_are_placed_during_the_removal(shop: Shopkeeper) -> None:
    ada, tea = shop.add_user(), shop.add_product(stock=1000)
    gone = False

    def keep_ordering() -> list[Answer]:
        answers = [shop.place_order(ada, {tea: 1}, **ASYNC)]
        while not gone:
            answers.append(shop.place_order(ada, {tea: 1}, Prefer="wait=1"))
        return [*answers, *(shop.place_order(ada, {tea: 1}) for _ in range(2))]

    customers = [Meanwhile(keep_ordering) for _ in range(4)]
    try:
        removal = shop.remove_user(ada)
        while removal.status == 503:  # orders hold the user at every moment: nothing was accepted, ask again
            removal = shop.remove_user(ada)
        assert shop.settled(removal) == "committed"
        assert shop.orders_of(ada, "open") == []
    finally:
        gone = True
        answers = [answer for customer in customers for answer in customer.result()]
    fates = Counter(shop.fate(answer) for answer in answers)
    assert set(fates) <= {"committed", "aborted", "409"}, fates
    assert shop.orders_of(ada, "open") == []
    assert shop.stock_of(tea) == 1000


def test_twenty_clients_who_want_one_of_ten_get_exactly_ten(shop: Shopkeeper) -> None:
    users, tea = [shop.add_user(f"Client{n}") for n in range(20)], shop.add_product(stock=10)
    answers = at_once([lambda user=user: shop.place_order(user, {tea: 1}) for user in users])
    assert {answer.status for answer in answers} <= {201, 202, 409}, [str(answer) for answer in answers]
    placed = [answer for answer in answers if shop.fate(answer) == "committed"]
    assert len(placed) == 10, [str(answer) for answer in answers]
    for refused in (answer for answer in answers if answer not in placed):
        cause = refused.body if refused.status == 409 else shop.row(refused)["cause"]
        assert cause["reason"] == "insufficient_stock", refused
    assert shop.stock_of(tea) == 0
    assert sum(len(shop.orders_of(user, "open")) for user in users) == 10


def test_orders_for_the_same_goods_in_opposite_order_do_not_block_each_other_for_ever(shop: Shopkeeper) -> None:
    users = [shop.add_user(f"Client{n}") for n in range(8)]
    tea, cups = shop.add_product("Tea", stock=100), shop.add_product("Cups", stock=100)
    wishes = [{tea: 1, cups: 1}, {cups: 1, tea: 1}] * 4
    answers = at_once([lambda u=user, w=wish: shop.place_order(u, w) for user, wish in zip(users, wishes, strict=True)])
    assert [shop.fate(answer) for answer in answers] == ["committed"] * 8
    assert (shop.stock_of(tea), shop.stock_of(cups)) == (92, 92)
