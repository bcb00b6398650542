"""A connection to the database that breaks in the middle of a statement which ends a transaction: nobody knows whether
it took effect, and whoever asks again learns it.

The connection is a real one and really cut, once before the server has heard the statement and once after it has
answered.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from eager_shop import LIMITS, EagerShop
from eager_wire import Wire

from atomic_commit import Lost, TransactionRecord
from atomic_commit.postgres.database import autocommit, engine_options
from atomic_commit.wire.hand_over import Answer

before_and_after = pytest.mark.parametrize("reached", [False, True], ids=["before-the-server", "after-the-server"])


@pytest.fixture
def wire(shop: EagerShop, monkeypatch: pytest.MonkeyPatch) -> Iterator[Wire]:
    """What the participant of the orders service reaches its database by."""
    url = shop.engines["orders"].url
    assert url.host
    assert url.port
    wire = Wire(url.host, url.port)
    engine = sa.create_engine(url.set(host="127.0.0.1", port=wire.port), **engine_options(LIMITS, pool_size=2))
    monkeypatch.setattr(shop.atomic("orders").participant, "_engine", engine)
    monkeypatch.setattr(shop.atomic("orders").participant, "_autocommit", autocommit(engine))
    yield wire
    engine.dispose()
    wire.close()


def test_statements_by_themselves_and_transactions_take_turns_on_one_connection(shop: EagerShop) -> None:
    """Also after the pool was made anew."""
    engine = sa.create_engine(shop.engines["orders"].url, pool_size=1, max_overflow=0)
    by_itself = autocommit(engine)
    in_transaction = sa.text("SELECT pg_current_xact_id_if_assigned() IS NOT NULL")
    for _ in range(2):
        with by_itself.connect() as connection:
            connection.execute(sa.text("SELECT pg_current_xact_id()"))
            assert not connection.scalar(in_transaction)
        with engine.connect() as connection:
            connection.execute(sa.text("SELECT pg_current_xact_id()"))
            assert connection.scalar(in_transaction)
        engine.dispose()


def test_others_commits_are_seen_whatever_the_database_says_by_default(shop: EagerShop) -> None:
    shop.query("orders", "ALTER ROLE CURRENT_USER SET default_transaction_isolation = 'serializable'")
    engine = sa.create_engine(shop.engines["orders"].url, **engine_options(LIMITS, pool_size=1))
    try:
        with engine.connect() as connection:
            assert connection.scalar(sa.text("SHOW transaction_isolation")) == "read committed"
    finally:
        engine.dispose()
        shop.query("orders", "ALTER ROLE CURRENT_USER RESET default_transaction_isolation")


def test_a_connection_that_was_used_a_moment_ago_and_ended_since_is_replaced(shop: EagerShop) -> None:
    engine = sa.create_engine(shop.engines["orders"].url, **engine_options(LIMITS, pool_size=1))
    with engine.connect() as connection:
        before = connection.connection.driver_connection.info.backend_pid  # type: ignore[union-attr]
    shop.query_outside("orders", f"SELECT pg_terminate_backend({before}, 5000)")
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT pg_backend_pid()")) != before
    engine.dispose()


@before_and_after
def test_a_branch_whose_connection_breaks_while_it_prepares_is_rolled_back_whether_it_is_prepared_or_not(
    shop: EagerShop, removal: TransactionRecord, order: int, wire: Wire, reached: bool
) -> None:
    orders, _ = shop.gids(removal)
    wire.cut_at("PREPARE TRANSACTION", reached=reached)
    with pytest.raises(Lost):
        shop.prepare(orders, shop.handed_on(removal))
    assert wire.cuts == 1
    assert shop.prepared() == ([str(orders)] if reached else [])
    shop.atomic("users").coordinator.decide(removal.id, 1)
    assert shop.prepared() == []
    assert (shop.record("users", removal.id).attempt, shop.status_of_order(order)) == (2, "open")
    shop.recover()
    assert shop.status_of_order(order) == "cancelled"


@before_and_after
def test_a_commit_whose_connection_breaks_is_unknown_until_it_is_asked_again(
    shop: EagerShop, removal: TransactionRecord, wire: Wire, reached: bool
) -> None:
    handed_on = shop.prepare_all(removal)
    with shop.post.loses():
        shop.atomic("users").coordinator.decide(removal.id, 1, handed_on)
    orders, products = shop.gids(removal)
    wire.cut_at("COMMIT PREPARED", reached=reached)
    with pytest.raises(Lost):
        shop.participant_of(orders).commit(orders)
    assert wire.cuts == 1
    assert shop.prepared() == ([str(products)] if reached else [str(orders), str(products)])
    assert shop.participant_of(orders).commit(orders) is Answer.COMMITTED
    assert shop.prepared() == [str(products)]
    shop.recover()


@before_and_after
def test_a_rollback_whose_connection_breaks_is_unknown_until_it_is_asked_again(
    shop: EagerShop, removal: TransactionRecord, wire: Wire, reached: bool
) -> None:
    shop.prepare_all(removal)
    with shop.post.loses():
        shop.abort("users", removal)
    orders, products = shop.gids(removal)
    wire.cut_at("ROLLBACK PREPARED", reached=reached)
    with pytest.raises(Lost):
        shop.participant_of(orders).rollback(orders)
    assert wire.cuts == 1
    assert shop.query("orders", "SELECT kind FROM branch_rows WHERE transaction_id = :id", id=removal.id) == []
    assert shop.participant_of(orders).rollback(orders) is Answer.ROLLED_BACK
    assert shop.prepared() == [str(products)]
    shop.recover()


@before_and_after
@pytest.mark.parametrize("outcome", ["commit", "rollback"])
def test_an_outcome_whose_connection_breaks_is_not_taken_for_answered_and_is_sent_again(
    shop: EagerShop, removal: TransactionRecord, order: int, wire: Wire, outcome: str, reached: bool
) -> None:
    handed_on = shop.prepare_all(removal)
    wire.cut_at(f"{outcome.upper()} PREPARED", reached=reached)
    if outcome == "commit":
        shop.atomic("users").coordinator.decide(removal.id, 1, handed_on)
    else:
        shop.abort("users", removal)
        shop.send_outcomes("users", removal.id)
    assert wire.cuts == 1
    assert [branch.name for branch in shop.record("users", removal.id).owed_branches] == ["orders.cancel_user_orders"]
    shop.recover()
    assert shop.prepared() == []
    assert shop.status_of_order(order) == ("cancelled" if outcome == "commit" else "open")
