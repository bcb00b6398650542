"""A migration meets a transaction in doubt: it gives up within its lock time-out, and succeeds once that is decided."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.broker.shopkeeper import ASYNC, Shopkeeper
from tests.docker.cluster import Cluster

_DOWN = (
    "from alembic import command; from service_roles.migrate import _config; command.downgrade(_config({!r}), '0001')"
)
_MIGRATE = ("python", "-m", "orders_service", "migrate")
_VERSION = "SELECT version_num FROM alembic_version"


@pytest.fixture
def behind(cluster: Cluster, shop: Shopkeeper) -> Iterator[None]:
    """The orders' database is one version behind until it is migrated, at the latest after the test."""
    code, said = cluster.run("orders", "python", "-c", _DOWN.format("orders_service"))
    assert (code, version(shop)) == (0, "0001"), said
    yield
    cluster.run("orders", *_MIGRATE)


@pytest.mark.usefixtures("behind")
@pytest.mark.parametrize("cluster", ["redis"], indirect=True)
def test_a_migration_gives_up_on_a_table_that_is_in_doubt_and_succeeds_later(
    cluster: Cluster, shop: Shopkeeper
) -> None:
    ada, bob, tea, cups = shop.add_user("Ada"), shop.add_user("Bob"), shop.add_product("Tea"), shop.add_product("Cups")
    order = shop.placed_order(ada, {tea: 3})
    with shop.down("users-outcome-worker"):
        removal = shop.remove_user(ada, **ASYNC)
        in_doubt = shop.wait_prepared(removal, 2)
        began = time.monotonic()
        code, said = cluster.run("orders", *_MIGRATE)
        assert (code, version(shop)) == (1, "0001"), said
        assert "lock timeout" in said
        assert time.monotonic() - began < 60
        assert shop.prepared(removal) == in_doubt
        placing = shop.place_order(bob, {cups: 1})
        assert shop.decided(placing) == "committed", "others work on"
    assert (shop.settled(removal), shop.settled(placing)) == ("committed", "committed")
    code, said = cluster.run("orders", *_MIGRATE)
    assert (code, version(shop)) == (0, "0002"), said
    assert (shop.user_status(ada), shop.order_status(order), shop.stock_of(tea)) == (None, "cancelled", 10)


def version(shop: Shopkeeper) -> str:
    return str(shop.databases.rows("orders", _VERSION)[0]["version_num"])
