"""COMMIT PREPARED and ROLLBACK PREPARED among others: a branch that prepares in between, a session that is at the same
transaction at this moment, transactions that are not ours."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import psycopg2
import pytest
import sqlalchemy as sa
from eager_postgres import database_url
from eager_shop import EagerShop
from eager_steps import coordinator

from atomic_commit import Conflict, TransactionRecord
from atomic_commit.names import Gid
from atomic_commit.wire.hand_over import Answer
from local_servers.postgres import Postgres
from tests.installation import INSTALLATION

# ---- "One that prepared between the two statements is met by a second round"


def test_a_branch_that_prepares_while_it_is_rolled_back_is_rolled_back_all_the_same(
    shop: EagerShop, removal: TransactionRecord, order: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It prepares when the rollback has just seen that nothing is prepared, and goes on to fence it."""
    orders, _ = shop.gids(removal)
    participant = shop.participant_of(orders)
    seen = []

    def look_a_moment_too_early(gid: Gid) -> bool:
        seen.append(type(participant)._is_prepared(participant, gid))
        if len(seen) == 1:
            shop.prepare(orders, shop.handed_on(removal))
        return seen[-1]

    monkeypatch.setattr(participant, "_is_prepared", look_a_moment_too_early)
    assert participant.rollback(orders) is Answer.ROLLED_BACK
    assert seen == [False, True]
    assert shop.prepared() == []
    shop.recover()
    assert shop.status_of_order(order) == "cancelled"


# ---- another session is at it: SQLSTATE 55000, "is busy"


@pytest.mark.parametrize("outcome", ["commit", "rollback"])
def test_a_transaction_that_another_session_is_resolving_is_a_conflict_and_asked_again(
    shop: EagerShop, removal: TransactionRecord, postgres: Postgres, outcome: str
) -> None:
    coordinator = shop.atomic("users").coordinator
    handed_on = shop.prepare_all(removal)
    with shop.post.loses():
        if outcome == "commit":
            coordinator.decide(removal.id, 1, handed_on)
        else:
            shop.abort("users", removal)
    orders, _ = shop.gids(removal)
    resolve = getattr(shop.participant_of(orders), outcome)
    with being_resolved(postgres, f"{outcome.upper()} PREPARED '{orders}'"), pytest.raises(Conflict, match="busy"):
        resolve(orders)
    assert resolve(orders) is {"commit": Answer.COMMITTED, "rollback": Answer.ROLLED_BACK}[outcome]
    shop.recover()
    assert shop.transaction("users", removal.id)["settled"] is True


@contextlib.contextmanager
def being_resolved(postgres: Postgres, statement: str) -> Iterator[None]:
    """Another session is in the middle of `statement` while the block runs: it waits for a standby server that there is
    not to confirm it, and has the prepared transaction in hand meanwhile."""
    with session_of(postgres) as administrator, session_of(postgres) as earlier, session_of(postgres) as other:
        stopped = threading.Event()
        writing = threading.Thread(target=write_on_and_on, args=(earlier, stopped))
        resolving = threading.Thread(target=other.execute, args=(statement,))
        try:
            administrator.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
            administrator.execute("SELECT pg_reload_conf()")
            writing.start()
            wait_until_it_waits(administrator, earlier)  # now the server has heard of the setting
            resolving.start()
            wait_until_it_waits(administrator, other)
            yield
        finally:
            stopped.set()
            administrator.execute("ALTER SYSTEM RESET synchronous_standby_names")
            administrator.execute("SELECT pg_reload_conf()")
            for thread in (writing, resolving):
                if thread.ident:
                    thread.join()


@contextlib.contextmanager
def session_of(postgres: Postgres) -> Iterator[Any]:
    """A cursor on a session of its own in the database of the orders, outside any transaction."""
    with contextlib.closing(psycopg2.connect(postgres.admin_url("orders"))) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            yield cursor


def write_on_and_on(session: Any, stopped: threading.Event) -> None:
    while not stopped.is_set():
        session.execute("SELECT pg_logical_emit_message(true, 'test', '')")


def wait_until_it_waits(administrator: Any, session: Any) -> None:
    end, waiting = time.monotonic() + 30, None
    while not waiting:
        assert time.monotonic() < end, "the session does not wait for a standby"
        administrator.execute(
            "SELECT 1 FROM pg_stat_activity WHERE pid = %s AND wait_event = 'SyncRep'",
            (session.connection.info.backend_pid,),
        )
        waiting = administrator.fetchone()


# ---- ""Prepared transaction does not exist" on commit is ambiguous. The branch row tells"


def test_a_commit_repeated_is_a_commit(shop: EagerShop, removal: TransactionRecord) -> None:
    handed_on = shop.prepare_all(removal)
    with shop.post.loses():
        coordinator(shop).decide(removal.id, 1, handed_on)
    for gid in shop.gids(removal):
        assert [shop.participant_of(gid).commit(gid) for _ in range(3)] == [Answer.COMMITTED] * 3
    shop.recover()


@pytest.mark.loud
@pytest.mark.leaves("unsettled", "unbalanced")
def test_a_commit_of_a_branch_that_is_not_there_is_quarantined_loudly(
    shop: EagerShop, removal: TransactionRecord, caplog: pytest.LogCaptureFixture
) -> None:
    orders, products = shop.gids(removal)
    handed_on = shop.prepare(orders, shop.handed_on(removal))
    proofs = {str(gid): shop.database_of(gid) for gid in (orders, products)}
    forged = {**handed_on, "prepared": proofs}
    coordinator(shop).decide(removal.id, 1, forged)
    transaction = shop.transaction("users", removal.id)
    assert (transaction["state"], transaction["decision"]) == ("quarantined", "committed"), transaction
    assert "products.restock" in transaction["error"]
    assert transaction["settled"] is False
    assert "QUARANTINED" in caplog.text
    assert [t["id"] for t in shop.get("users", "/transactions?state=quarantined")] == [str(removal.id)]
    assert shop.get("users", "/transactions?state=committed") == []
    shop.time_passes(3600)
    assert shop.sweep() == 0, "nobody touches it any more"


@pytest.mark.loud
@pytest.mark.leaves("unsettled", "unbalanced")
def test_a_rollback_of_a_branch_that_is_committed_is_quarantined_loudly(
    shop: EagerShop, removal: TransactionRecord, caplog: pytest.LogCaptureFixture
) -> None:
    orders, _ = shop.gids(removal)
    shop.prepare(orders, shop.handed_on(removal))
    shop.query_outside("orders", f"COMMIT PREPARED '{orders}'")  # by somebody who thought to help
    shop.abort("users", removal)
    shop.send_outcomes("users", removal.id)
    transaction = shop.transaction("users", removal.id)
    assert (transaction["state"], transaction["decision"]) == ("quarantined", "aborted"), transaction
    assert "orders.cancel_user_orders" in transaction["error"]
    assert "QUARANTINED" in caplog.text


# ---- "Only gids of ours, in the current database, are ever touched"
# What is not ours can't be touched because nothing looks for it: every gid that is resolved was read in the journal.


def test_only_gids_of_ours_in_this_database_are_ever_touched(shop: EagerShop, removal: TransactionRecord) -> None:
    with shop.engines["orders"].connect() as connection:
        connection.execute(sa.text("CREATE TEMP TABLE IF NOT EXISTS t (x int)"))
        connection.rollback()
        connection.execute(sa.text("SELECT 1"))
        connection.exec_driver_sql("PREPARE TRANSACTION 'somebody-elses'")
        connection.detach()
        connection.close()
    try:
        shop.recover()
        assert shop.prepared() == ["somebody-elses"]
    finally:
        shop.query_outside("orders", "ROLLBACK PREPARED 'somebody-elses'")


@pytest.fixture
def gid_prepared_elsewhere(shop: EagerShop, postgres: Postgres) -> Iterator[Gid]:
    """A branch of the orders service by its name, prepared in the database of the products."""
    gid = Gid(INSTALLATION, "users.remove_user", uuid4(), 1, "orders.cancel_user_orders")
    with contextlib.closing(psycopg2.connect(database_url(postgres, "products"))) as connection:
        connection.cursor().execute("SELECT txid_current()")
        connection.cursor().execute(f"PREPARE TRANSACTION '{gid}'")
    yield gid
    shop.query_outside("products", f"ROLLBACK PREPARED '{gid}'")


def test_a_transaction_of_the_same_name_in_another_database_is_not_rolled_back(
    shop: EagerShop, gid_prepared_elsewhere: Gid
) -> None:
    gid = gid_prepared_elsewhere
    assert shop.participant_of(gid).rollback(gid) is Answer.ROLLED_BACK, "there is none in this database"
    assert shop.prepared() == [str(gid)]
