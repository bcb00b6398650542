"""Branches that wait for locks fill every slot of their worker, and the outcome that frees those locks goes through."""

from __future__ import annotations

from contextlib import ExitStack

from tests.broker.shopkeeper import ASYNC, Shopkeeper
from tests.broker.waiting import wait_until

#: Seconds for which a branch waits for a row here: what has to come through "at once" can't have waited for its end.
LONG, AT_ONCE = 60, 25

SLOTS = 2

_WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'products' AND wait_event_type = 'Lock'"


def test_branches_that_wait_for_a_lock_in_every_slot_do_not_keep_out_the_outcome_that_frees_it(
    shop: Shopkeeper,
) -> None:
    """An order is prepared and has the goods; more orders than two workers have slots wait for the same goods."""
    users, tea = [shop.add_user(f"Client{n}") for n in range(3 * SLOTS + 1)], shop.add_product(stock=100)
    with ExitStack() as settings:
        for worker in ("products-worker", "products-outcome-worker"):
            few = {"WORKER_THREADS": str(SLOTS), "ATOMIC_LOCK_TIMEOUT": str(LONG)}
            settings.enter_context(shop.with_settings(worker, **few))
        alone = {"ATOMIC_PATIENCE": str(LONG), "ATOMIC_ATTEMPTS_AT_ONCE": str(len(users))}  # nobody stands in line
        settings.enter_context(shop.with_settings("orders-api", **alone))
        with shop.down("orders-worker", "orders-outcome-worker"):  # nobody decides
            first = shop.place_order(users[0], {tea: 1}, **ASYNC)
            shop.wait_prepared(first, 2)
            others = [shop.place_order(user, {tea: 1}, **ASYNC) for user in users[1:]]
            for other in others:
                shop.wait_prepared(other, 1)
            wait_until(lambda: waiting(shop) >= SLOTS, "every slot of the branch worker waits for the goods")
        assert shop.settled(first, within=AT_ONCE) == "committed"
        assert [shop.settled(other) for other in others] == ["committed"] * len(others)
    assert shop.stock_of(tea) == 100 - len(users)


def waiting(shop: Shopkeeper) -> int:
    return int(shop.databases.rows("postgres", _WAITING)[0]["count"])
