"""A migration meets a transaction in doubt: it gives up within its lock time-out, and succeeds once that is decided."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from embedded.driver import ASYNC
from tests.broker.shopkeeper import Shopkeeper
from tests.docker.cluster import Cluster

#: The service as it would be in its next release, which has one more migration; ``{}`` is what it is to do.
_NEXT_RELEASE = """
import pathlib, shutil, sys
from alembic import command
from service_roles import migrate

config = migrate._config("orders_service")
shutil.copytree(config.get_main_option("script_location"), "/tmp/migrations")
pathlib.Path("/tmp/migrations/versions/9999_gifts.py").write_text(
    "from alembic import op\\n"
    "revision, down_revision = '9999', '{head}'\\n"
    "def upgrade(): op.execute('ALTER TABLE orders ADD COLUMN gift boolean')\\n"
    "def downgrade(): op.execute('ALTER TABLE orders DROP COLUMN gift')\\n"
)
config.set_main_option("script_location", "/tmp/migrations")
migrate._config = lambda package: config
sys.exit({what})
"""
_UP, _DOWN = 'migrate.upgrade("orders_service")', 'command.downgrade(config, "{head}")'
_VERSION = "SELECT version_num FROM alembic_version"


@pytest.fixture
def head(cluster: Cluster, shop: Shopkeeper) -> Iterator[str]:
    """The version that the orders' database has, and has again after the test."""
    before = version(shop)
    yield before
    code, said = next_release(cluster, before, _DOWN.format(head=before))
    assert (code, version(shop)) == (0, before), said


def next_release(cluster: Cluster, head: str, what: str) -> tuple[int, str]:
    return cluster.run("orders", "python", "-c", _NEXT_RELEASE.format(head=head, what=what))


@pytest.mark.parametrize("cluster", ["redis"], indirect=True)
def test_a_migration_gives_up_on_a_table_that_is_in_doubt_and_succeeds_later(
    cluster: Cluster, shop: Shopkeeper, head: str
) -> None:
    ada, bob, tea, cups = shop.add_user("Ada"), shop.add_user("Bob"), shop.add_product("Tea"), shop.add_product("Cups")
    order = shop.placed_order(ada, {tea: 3})
    with shop.down("users-outcome-worker"):
        removal = shop.remove_user(ada, **ASYNC)
        in_doubt = shop.wait_prepared(removal, 2)
        began = time.monotonic()
        code, said = next_release(cluster, head, _UP)
        assert (code, version(shop)) == (1, head), said
        assert "lock timeout" in said
        assert time.monotonic() - began < 60
        assert shop.prepared(removal) == in_doubt
        placing = shop.place_order(bob, {cups: 1})
        assert shop.decided(placing) == "committed", "others work on"
    assert (shop.settled(removal), shop.settled(placing)) == ("committed", "committed")
    code, said = next_release(cluster, head, _UP)
    assert (code, version(shop)) == (0, "9999"), said
    assert (shop.user_status(ada), shop.order_status(order), shop.stock_of(tea)) == (None, "cancelled", 10)


def version(shop: Shopkeeper) -> str:
    return str(shop.databases.rows("orders", _VERSION)[0]["version_num"])
