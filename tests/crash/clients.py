"""The random customers of a soak. Each client is a thread with a generator of its own: a seed repeats its choices."""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from embedded.driver import Answer, Driver
from local_servers.json_http import CallFailed

from .history import History

PRODUCTS, STOCK = 12, 1_000_000
#: So many users and orders, the newest, are known to all clients: in a long soak most of the older ones are gone.
_USERS_KNOWN, _ORDERS_KNOWN = 120, 400
#: operation → weight
_MIX = {"place": 58, "cancel": 20, "fulfil": 6, "remove": 6, "add_user": 8, "stock": 2}


class Market:
    """What all clients know of: users, products and orders that somebody was told of."""

    def __init__(self, shop: Driver, history: History) -> None:
        self.shop, self.history = shop, history
        self.lock = threading.Lock()
        self.users: list[int] = []
        self.orders: list[int] = []
        self.products = [self._add_product(number) for number in range(PRODUCTS)]
        dice = random.Random(0)
        for _ in range(30):
            self.add_user(dice)

    def _add_product(self, number: int) -> int:
        # Every third one has a warehouse that is full, so that what leaves may be refused when it comes back.
        capacity = STOCK if number % 3 == 0 else None
        product = self.shop.add_product(f"product {number}", stock=STOCK, capacity=capacity, price=100 + number)
        self.history.add("add_product", time.time(), status=201, product=product, stock=STOCK)
        return product

    def add_user(self, dice: random.Random) -> None:
        body = {"name": "Somebody", "email": f"{uuid.UUID(int=dice.getrandbits(128))}@example.com"}
        began = time.time()
        answer = self.asked(self.shop.call, "POST", "users", "/users", body)
        user = answer.body["id"] if answer and answer.status == 201 else None
        if user:
            self.know(self.users, user, _USERS_KNOWN)
        self.history.add("add_user", began, status=answer.status if answer else None, user=user)

    def know(self, those: list[int], one: int, most: int) -> None:
        """Tell all clients of one more, and let the oldest be forgotten."""
        with self.lock:
            those.append(one)
            del those[:-most]

    def forget(self, those: list[int], one: int) -> None:
        """It is over with this one."""
        with self.lock, suppress(ValueError):
            those.remove(one)

    def asked(self, request: Callable[..., Answer], *arguments: Any, **headers: str) -> Answer | None:
        """The answer to a request of the driver's, or None where the connection was lost."""
        try:
            answer = request(*arguments, **headers)
        except CallFailed:
            answer = None
        if answer is None or answer.status == 503:
            time.sleep(0.2)  # a client that hammers what is not there fills the history with nothing
        return answer


class Client(threading.Thread):
    """One customer, until `stop` is set, who pauses for so many seconds between two requests."""

    def __init__(self, market: Market, seed: str, stop: threading.Event, pause: float = 0.0) -> None:
        super().__init__(name=f"client-{seed}", daemon=True)
        self._market, self._dice, self._stop_event, self._pause = market, random.Random(seed), stop, pause

    def run(self) -> None:
        while not self._stop_event.wait(self._pause):
            operation = self._dice.choices(list(_MIX), list(_MIX.values()))[0]
            getattr(self, f"_{operation}")()

    def _add_user(self) -> None:
        self._market.add_user(self._dice)

    def _place(self) -> None:
        chosen = self._dice.sample(self._market.products, self._dice.randint(1, 3))
        user = self._one_of(self._market.users)
        quantities = {product: self._dice.randint(1, 4) for product in chosen}
        answer = self._distributed("place", "orders", self._market.shop.place_order, user, quantities)
        if answer and answer.status == 201:
            self._market.know(self._market.orders, answer.order_id, _ORDERS_KNOWN)

    def _cancel(self) -> None:
        order = self._one_of(self._market.orders)
        answer = self._distributed("cancel", "orders", self._market.shop.cancel_order, order, order=order)
        if answer and answer.status == 200 and self._dice.random() < 0.8:  # the others are cancelled again
            self._market.forget(self._market.orders, order)

    def _remove(self) -> None:
        user = self._one_of(self._market.users)
        answer = self._distributed("remove", "users", self._market.shop.remove_user, user, user=user)
        if answer and answer.status == 200 and self._dice.random() < 0.8:
            self._market.forget(self._market.users, user)

    def _fulfil(self) -> None:
        order = self._one_of(self._market.orders)
        began = time.time()
        answer = self._market.asked(self._market.shop.fulfil_order, order)
        self._market.history.add("fulfil", began, status=answer.status if answer else None, order=order)

    def _stock(self) -> None:
        """Goods come in or go out. With a key a lost answer is asked for again, and a known one sometimes."""
        product, delta = self._dice.choice(self._market.products), self._dice.choice((-3, -2, -1, 1, 2, 3))
        key, headers = self._key()
        for _ in range(1 + self._dice.randint(0, 2) if key else 1):
            began = time.time()
            answer = self._market.asked(self._market.shop.change_stock, product, delta, **headers)
            status, said = (answer.status, answer.body.get("stock")) if answer else (None, None)
            self._market.history.add("stock", began, status=status, product=product, delta=delta, key=key, said=said)

    def _key(self) -> tuple[str | None, dict[str, str]]:
        """An Idempotency-Key and the headers with it, for some requests."""
        if self._dice.random() >= 0.4:
            return None, {}
        key = f"{uuid.UUID(int=self._dice.getrandbits(128))}"
        return key, {"Idempotency_Key": f'"{key}"'}

    def _distributed(
        self, operation: str, service: str, request: Callable[..., Answer], *arguments: Any, **members: Any
    ) -> Answer | None:
        """Send it, sometimes with a key; with a key a lost answer is asked for again, as a careful client does."""
        key, headers = self._key()
        if self._dice.random() < 0.1:
            headers["Prefer"] = "respond-async"
        for _ in range(1 + self._dice.randint(0, 2) if key else 1):
            began = time.time()
            answer = self._market.asked(request, *arguments, **headers)
            self._market.history.add(
                operation,
                began,
                status=answer.status if answer else None,
                service=service,
                key=key,
                transaction=transaction_of(answer),
                reason=answer.body.get("reason") if answer else None,
                result_order=answer.body.get("order", {}).get("id") if answer and answer.status in (200, 201) else None,
                **members,
            )
        return answer

    def _one_of(self, those: list[int]) -> int:
        with self._market.lock:
            return self._dice.choice(those) if those else 1


def transaction_of(answer: Answer | None) -> str | None:
    """The id of the transaction that an answer tells of, if it tells of any."""
    transaction = answer.body.get("transaction") if answer and isinstance(answer.body, dict) else None
    return transaction["id"] if transaction else None
