"""What one says to the shop, in the shop's words, over HTTP alone: for the demo, tests, judges and benchmarks."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from typing import Any

from local_servers import json_http

ASYNC = {"Prefer": "respond-async"}
"""Answered with 202 at once: who asks watches the transaction."""
PATIENT = {"Prefer": "wait=30"}
"""Answered once it is decided, also on a machine that is busy with other things."""


class Answer(json_http.Answer):
    """An answer of the shop."""

    @property
    def transaction(self) -> str:
        """The id of the transaction that it tells of."""
        return str(self.body["transaction"]["id"])

    @property
    def order_id(self) -> int:
        """The order that a placing or a cancellation answers with."""
        return int(self.body["order"]["id"])


class Driver:
    """Speaks to the services' APIs; `url(service)` says where each is.

    What returns an `Answer` returns whatever is answered; everything else raises CallFailed where that is not what it
    needs. All raise NoAnswer where the connection is refused or lost.
    """

    def __init__(self, url: Callable[[str], str]) -> None:
        self._url = url

    def call(self, method: str, service: str, path: str, body: object = None, **headers: str) -> Answer:
        """One request; a header has underscores for its hyphens. Raises CallFailed where the answer is no JSON."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = Answer(**vars(json_http.call(method, self._url(service) + path, body, sent)))
        _ = answer.body  # parsed here, whatever the caller reads of it
        return answer

    def read(self, service: str, path: str) -> Any:
        """The body of a 200."""
        return self.call("GET", service, path).expect(200).body

    # ---- what customers and clerks do

    def add_user(self, name: str = "Ada") -> int:
        """Returns the id; the e-mail address is one that nobody else has."""
        body = {"name": name, "email": f"{name.lower()}-{uuid.uuid4().hex}@example.com"}
        return int(self.call("POST", "users", "/users", body).expect(201).body["id"])

    def add_product(self, name: str = "Tea", *, stock: int = 10, capacity: int | None = None, price: int = 500) -> int:
        """Returns the id; the price is in the currency's smallest unit, without a capacity any stock fits in."""
        body = {"name": name, "price": price, "stock": stock, "capacity": capacity}
        return int(self.call("POST", "products", "/products", body).expect(201).body["id"])

    def change_stock(self, product: int, delta: int, **headers: str) -> Answer:
        """Goods come in from outside, or go."""
        return self.call("POST", "products", f"/products/{product}/stock", {"delta": delta}, **headers)

    def place_order(self, user: int, quantities: Mapping[int, int], **headers: str) -> Answer:
        lines = [{"product_id": product, "quantity": quantity} for product, quantity in quantities.items()]
        return self.call("POST", "orders", "/orders", {"user_id": user, "lines": lines}, **headers)

    def placed_order(self, user: int, quantities: Mapping[int, int]) -> int:
        """The id of an order that was placed, without doubt."""
        return self.place_order(user, quantities, **PATIENT).expect(201).order_id

    def cancel_order(self, order: int, **headers: str) -> Answer:
        return self.call("POST", "orders", f"/orders/{order}/cancel", **headers)

    def fulfil_order(self, order: int) -> Answer:
        return self.call("POST", "orders", f"/orders/{order}/fulfil")

    def remove_user(self, user: int, **headers: str) -> Answer:
        return self.call("DELETE", "users", f"/users/{user}", **headers)

    # ---- what readers see

    def user_status(self, user: int) -> str | None:
        """``active``, ``removing``, or None where there is no such user."""
        answer = self.call("GET", "users", f"/users/{user}")
        return None if answer.status == 404 else str(answer.expect(200).body["status"])

    def stock_of(self, product: int) -> int:
        return int(self.read("products", f"/products/{product}")["stock"])

    def order(self, order: int) -> dict[str, Any]:
        return dict(self.read("orders", f"/orders/{order}"))

    def order_status(self, order: int) -> str:
        return str(self.order(order)["status"])

    def orders_of(self, user: int, status: str | None = None) -> list[int]:
        """The ids of the first 500, the oldest first."""
        chosen = f"&status={status}" if status else ""
        return [order["id"] for order in self.read("orders", f"/orders?user_id={user}&limit=500{chosen}")]

    def transaction(self, service: str, id: str) -> dict[str, Any]:
        """As its coordinator, this service, tells it."""
        return dict(self.read(service, f"/transactions/{id}"))
