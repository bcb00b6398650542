"""Who comes to the shop because of a failover, beside the random customers: many newcomers just before it, and
somebody for everything that has to be possible again afterwards."""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from embedded.driver import Answer

from .clients import STOCK, Market, transaction_of

#: A sequence writes 32 numbers ahead into the log, so fewer would not show whether one is given twice.
_NEWCOMERS, _AT_ONCE = 60, 2


class Visitors:
    """What they do is in the history of the market. One user and one product of theirs are there from the beginning."""

    def __init__(self, market: Market) -> None:
        self._market = market
        self._old_user, self._old_product = self._new_user(), self._new_product()
        self._stock_in(self._old_product, STOCK)

    @contextlib.contextmanager
    def newcomers(self, services: Sequence[str]) -> Iterator[None]:
        """While the block runs users and products are made in quick succession, of those whose service is named."""
        over = threading.Event()
        making = {"users": self._new_user, "products": self._new_product}

        def make(one: Callable[[], object]) -> None:
            for _ in range(_NEWCOMERS // _AT_ONCE):
                if not over.is_set():
                    with contextlib.suppress(AssertionError):
                        one()

        wanted = [making[service] for service in services if service in making] * _AT_ONCE
        threads = [threading.Thread(target=make, args=(one,), daemon=True) for one in wanted]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            over.set()
            for thread in threads:
                thread.join()

    def errands(self, until: float) -> list[str]:
        """What has to be possible again, each tried until it is. Returns what was not, and how it was refused."""
        todo: dict[str, Callable[[], object]] = {
            **{f"stock of product {one}": partial(self._stock_in, one) for one in self._market.products},
            "an order of somebody who was there before": partial(self._come_and_go, self._old_user, self._old_product),
            "a new user, from the first order to the removal": self._a_life,
            **{f"new user {number}": self._new_user for number in range(3)},
            **{f"new product {number}": self._new_product for number in range(3)},
        }
        refused = {}
        while todo and time.time() < until:
            for name, errand in list(todo.items()):
                try:
                    errand()
                    del todo[name]
                except AssertionError as error:
                    refused[name] = str(error)
        return [f"{name}: {refused.get(name)}" for name in todo]

    def _a_life(self) -> None:
        user, product = self._new_user(), self._new_product()
        self._stock_in(product, 10)
        self._come_and_go(user, product)
        self._order(user, product)
        self._distributed("remove", 200, "DELETE", "users", f"/users/{user}", user=user)

    def _come_and_go(self, user: int, product: int) -> None:
        order = self._order(user, product)
        self._distributed("cancel", 200, "POST", "orders", f"/orders/{order}/cancel", order=order)

    def _order(self, user: int, product: int) -> int:
        body = {"user_id": user, "lines": [{"product_id": product, "quantity": 1}]}
        return self._distributed("place", 201, "POST", "orders", "/orders", body).order_id

    def _distributed(
        self, operation: str, wanted: int, method: str, service: str, path: str, body: object = None, **members: Any
    ) -> Answer:
        """The answer, if it is the wanted one. Raises AssertionError otherwise."""
        began = time.time()
        answer = self._market.asked(self._market.shop.call, method, service, path, body)
        said = answer.body if answer and isinstance(answer.body, dict) else {}
        self._market.history.add(
            operation,
            began,
            status=answer.status if answer else None,
            service=service,
            key=None,
            transaction=transaction_of(answer),
            reason=said.get("reason"),
            result_order=said.get("order", {}).get("id") if answer and answer.status in (200, 201) else None,
            **members,
        )
        return _wanted(wanted, answer, path)

    def _new_user(self) -> int:
        body = {"name": "Somebody", "email": f"{uuid.uuid4()}@example.com"}
        return self._made("user", "users", body)

    def _new_product(self) -> int:
        """Without stock: the checker counts what a product begins with, and an answer may be lost."""
        return self._made("product", "products", {"name": "Something", "price": 100, "stock": 0}, stock=0)

    def _made(self, what: str, service: str, body: object, **members: Any) -> int:
        began = time.time()
        answer = self._market.asked(self._market.shop.call, "POST", service, f"/{service}", body)
        made = answer.body["id"] if answer and answer.status == 201 else None
        status = answer.status if answer else None
        self._market.history.add(f"add_{what}", began, status=status, **{what: made}, **members)
        return int(_wanted(201, answer, f"/{service}").body["id"])

    def _stock_in(self, product: int, delta: int = 1) -> None:
        began, path = time.time(), f"/products/{product}/stock"
        answer = self._market.asked(self._market.shop.call, "POST", "products", path, {"delta": delta})
        status = answer.status if answer else None
        self._market.history.add("stock", began, status=status, product=product, delta=delta, key=None, said=None)
        _wanted(200, answer, path)


def _wanted(status: int, answer: Answer | None, path: str) -> Answer:
    assert answer, f"{path}: the connection was lost"
    assert answer.status == status, f"{path}: {answer}"
    return answer
