"""Five hundred operations from sixteen clients at once, and the books balance."""

from __future__ import annotations

import random
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from tests.broker.http_calls import Answer
from tests.broker.shopkeeper import Shopkeeper
from tests.broker.waiting import wait_until

CLIENTS, OPERATIONS = 16, 500


def test_five_hundred_operations_from_sixteen_clients_leave_the_books_balanced(shop: Shopkeeper) -> None:
    dice = random.Random(1993)
    with ThreadPoolExecutor(CLIENTS) as pool:
        products = list(pool.map(lambda n: shop.add_product(f"Product {n}", stock=40), range(12)))
        users = list(pool.map(lambda n: shop.add_user(f"Client{n}"), range(60)))
        first = list(pool.map(lambda user: shop.place_order(user, {products[user % 12]: 1}), users))
        orders = [answer.order_id for answer in first if answer.status == 201]

        def place(number: int) -> Answer:
            wish = {product: dice.randint(1, 3) for product in dice.sample(products, dice.randint(1, 3))}
            answer = shop.place_order(dice.choice(users), wish)
            if answer.status == 201:
                orders.append(answer.order_id)
            return answer

        def cancel(number: int) -> Answer:
            return shop.cancel(dice.choice(orders))

        def fulfil(number: int) -> Answer:
            return shop.fulfil(dice.choice(orders))

        def remove(number: int) -> Answer:
            return shop.remove_user(users[number % len(users)])

        plan = [dice.choices((place, cancel, fulfil, remove), (60, 25, 3, 12))[0] for _ in range(OPERATIONS)]
        began = time.monotonic()
        answers = list(pool.map(lambda step: step[1](step[0]), enumerate(plan)))
        answered = time.monotonic() - began
    wait_until(lambda: not shop.unfinished(), "all that was accepted has ended", within=240 - answered, every=0.2)
    ended = time.monotonic() - began
    counts = Counter((step.__name__, answer.status) for step, answer in zip(plan, answers, strict=True))
    print(
        f"\n{shop.broker}: {OPERATIONS} operations from {CLIENTS} clients answered in {answered:.1f} s"
        f" ({OPERATIONS / answered:.0f}/s), all ended after {ended:.1f} s: {dict(sorted(counts.items()))}"
    )
    assert {answer.status for answer in answers} <= {200, 201, 202, 404, 409, 503}, counts
    assert counts["place", 201] > 50, counts
    assert ended < 240
    shop.assert_whole()
