"""What the shop is doing while it is hit: one transaction of each kind, and what each must amount to in the end."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from embedded.driver import Answer
from tests.broker.shopkeeper import Shopkeeper

STOCK, ORDERED = 20, 3


class Told(Protocol):
    """What a scene must be told: the kind of the transaction, and how it is to end if nothing happened to it."""

    @property
    def kind(self) -> str: ...

    @property
    def ending(self) -> str: ...


@dataclass
class Scene:
    """A user with one open order of `ORDERED` units of a product of their own."""

    keeper: Shopkeeper
    injection: Told
    user: int = 0
    product: int = 0
    order: int = 0
    orders_before: list[int] = field(default_factory=list)

    def set(self) -> None:
        """Make the scene, before anything is armed."""
        self.user = self.keeper.add_user()
        self.product = self.keeper.add_product(stock=STOCK)
        if self.injection.kind != "place_order":
            self.order = self.keeper.placed_order(self.user, {self.product: ORDERED})
            self.orders_before = [self.order]
        if self.injection.ending == "refusal" and self.injection.kind != "place_order":
            self._shrink_warehouse()

    def _shrink_warehouse(self) -> None:
        """What the order holds does not fit back."""
        self.keeper.call("PATCH", "products", f"/products/{self.product}", {"capacity": STOCK - ORDERED}).expect(200)

    def act(self, **headers: str) -> Answer:
        """Send the request. Raises NoAnswer where the connection is lost."""
        if self.injection.kind == "remove_user":
            return self.keeper.remove_user(self.user, **headers)
        if self.injection.kind == "cancel_order":
            return self.keeper.cancel_order(self.order, **headers)
        quantity = STOCK + 1 if self.injection.ending == "refusal" else ORDERED
        return self.keeper.place_order(self.user, {self.product: quantity}, **headers)

    def happened(self) -> bool:
        """Whether the transaction has happened, by the business rows of all three services.

        Raises AssertionError where they contradict each other: the one thing that must never be.
        """
        users = self.keeper.databases.rows("users", "SELECT status FROM users WHERE id = %s", self.user)
        orders = self.keeper.databases.rows(
            "orders", "SELECT id, status FROM orders WHERE user_id = %s ORDER BY id", self.user
        )
        stock = self.keeper.databases.rows("products", "SELECT stock FROM products WHERE id = %s", self.product)
        seen = (
            [row["status"] for row in users],
            [row["status"] for row in orders],
            stock[0]["stock"],
        )
        not_happened, happened = self._expected()
        assert seen in (not_happened, happened), (
            f"half a transaction: users, orders, stock are {seen};"
            f" without it they would be {not_happened}, with it {happened}"
        )
        return seen == happened

    def _expected(self) -> tuple[object, object]:
        """(users, orders, stock) as they are without the transaction, and as they are with it."""
        if self.injection.kind == "remove_user":
            return (["active"], ["open"], STOCK - ORDERED), ([], ["cancelled"], STOCK)
        if self.injection.kind == "cancel_order":
            return (["active"], ["open"], STOCK - ORDERED), (["active"], ["cancelled"], STOCK)
        return (["active"], [], STOCK), (["active"], ["open"], STOCK - ORDERED)
