"""A participant prepares for the coordinators that the manifest names, and obeys the outcomes of all others too."""

from __future__ import annotations

import pytest
from eager_shop import EagerShop, committed

from atomic_commit import TransactionRecord


def only_orders_may_call_products(shop: EagerShop, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(shop.atomic("products"), "_coordinators", ("orders",))


@pytest.mark.loud
def test_nothing_is_prepared_for_a_coordinator_that_may_not_call_and_that_is_said_once(
    shop: EagerShop, user: int, order: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    only_orders_may_call_products(shop, monkeypatch)
    problem = shop.remove_user(user).problem(500, "internal-error")
    transaction = problem["transaction"]
    assert (transaction["state"], transaction["attempt"], transaction["settled"]) == ("aborted", 1, True), problem
    assert (problem["reason"], transaction["cause"]["branch"]) == ("defect", "products.restock")
    assert "users may not call products" in caplog.text
    assert (shop.status_of_user(user), shop.status_of_order(order)) == ("active", "open")


def test_who_may_call_is_served_beside_one_that_may_not(
    shop: EagerShop, order: int, teapot: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    only_orders_may_call_products(shop, monkeypatch)
    shop.cancel(order).expect(200)
    assert shop.stock_of(teapot) == 10


def test_what_stands_prepared_is_committed_for_a_coordinator_that_may_not_call_any_more(
    shop: EagerShop, removal: TransactionRecord, user: int, teapot: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.prepare_all(removal)
    only_orders_may_call_products(shop, monkeypatch)
    shop.atomic("users").coordinator.decide(removal.id, 1)
    assert committed(shop.record("users", removal.id))
    assert (shop.prepared(), shop.stock_of(teapot), shop.status_of_user(user)) == ([], 10, None)


def test_what_stands_prepared_is_rolled_back_for_a_coordinator_that_may_not_call_any_more(
    shop: EagerShop, removal: TransactionRecord, user: int, teapot: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.prepare_all(removal)
    only_orders_may_call_products(shop, monkeypatch)
    assert shop.abort("users", removal)
    shop.send_outcomes("users", removal.id)
    assert (shop.prepared(), shop.stock_of(teapot), shop.status_of_user(user)) == ([], 6, "active")
