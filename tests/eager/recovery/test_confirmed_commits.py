"""A synchronous standby is away: what is committed only here is told and promised to nobody, until it is back.

PostgreSQL ends the wait for it when the statement is cancelled (COMMIT PREPARED also by ``statement_timeout``), with
the commit done and visible, and a warning.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import psycopg2
import pytest
import sqlalchemy as sa
from eager_shop import LIMITS, EagerShop

from atomic_commit import Lost, TransactionRecord
from atomic_commit.coordinator import lost_begin
from atomic_commit.journal.records import State
from atomic_commit.postgres import confirmed
from atomic_commit.postgres.database import engine_options
from atomic_commit.wire.hand_over import Answer
from local_servers.postgres import Postgres

Standby = Callable[[], AbstractContextManager[None]]


@pytest.fixture
def standby_is_away(shop: EagerShop, migrated: Postgres, monkeypatch: pytest.MonkeyPatch) -> Standby:
    """``with standby_is_away(): …``: a standby has to confirm every commit, there is none, and somebody cancels
    whatever waits for it."""
    monkeypatch.setattr(confirmed, "_KEPT", 0.0)
    monkeypatch.setattr(lost_begin, "_ASKED_FOR", 0.0)

    def named(names: str) -> None:
        shop.query_outside("users", f"ALTER SYSTEM SET synchronous_standby_names = '{names}'")
        shop.query_outside("users", "SELECT pg_reload_conf()")
        with contextlib.closing(psycopg2.connect(migrated.admin_url("postgres"))) as probe:
            probe.autocommit = True
            waits = None
            while waits != bool(names):  # the server's processes hear of it one after the other
                probe.notices.clear()
                probe.cursor().execute("SELECT pg_logical_emit_message(true, 'probe', '')")
                waits = bool(probe.notices)
        for engine in shop.engines.values():
            seen = None
            while seen != names:
                with engine.connect() as connection:
                    seen = connection.scalar(sa.text("SHOW synchronous_standby_names"))

    @contextmanager
    def away() -> Iterator[None]:
        back = threading.Event()
        canceller = threading.Thread(target=_cancel_who_waits, args=(migrated.admin_url("postgres"), back))
        canceller.start()
        try:
            named("nobody")
            yield
        finally:
            named("")
            back.set()
            canceller.join()

    return away


def _cancel_who_waits(admin_url: str, until: threading.Event) -> None:
    with contextlib.closing(psycopg2.connect(admin_url)) as connection:
        connection.autocommit = True
        while not until.wait(0.05):
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")


def test_a_prepared_branch_that_the_standby_may_not_have_is_no_yes(
    shop: EagerShop, removal: TransactionRecord, standby_is_away: Standby
) -> None:
    orders, _ = shop.gids(removal)
    with standby_is_away(), pytest.raises(Lost, match="stay prepared"):
        shop.prepare(orders, shop.handed_on(removal))
    assert shop.prepared() == [str(orders)], "and yet it is there"
    shop.recover()


@pytest.mark.parametrize("verb", ["commit", "rollback"])
def test_an_outcome_is_answered_once_the_standby_has_it(
    shop: EagerShop, removal: TransactionRecord, standby_is_away: Standby, verb: str
) -> None:
    orders, _ = shop.gids(removal)
    shop.prepare(orders, shop.handed_on(removal))
    participant = shop.participant_of(orders)
    done = {"commit": participant.commit, "rollback": participant.rollback}[verb]
    with standby_is_away():
        for _ in range(3):
            with pytest.raises(Exception, match=r"confirmed|stays|fenced"):
                done(orders)
        assert shop.prepared() == [], "it is done, and asked about again"
    assert done(orders) is (Answer.COMMITTED if verb == "commit" else Answer.ROLLED_BACK)
    if verb == "commit":  # nobody has decided so: put the shop in order again
        shop.query("orders", "UPDATE orders SET status = 'open', cancelled_by = NULL")
        shop.query("orders", "DELETE FROM branch_rows")
    shop.recover()


def test_a_decision_that_the_standby_may_not_have_is_told_to_no_participant(
    shop: EagerShop, removal: TransactionRecord, user: int, standby_is_away: Standby
) -> None:
    handed_on = shop.prepare_all(removal)
    with standby_is_away():
        with pytest.raises(Lost, match="stays"):
            shop.atomic("users").coordinator.decide(removal.id, 1, handed_on)
        assert shop.record("users", removal.id).state is State.COMMITTED, "here it is decided"
        with pytest.raises(Lost):
            shop.atomic("users").coordinator.look(removal.id)
        assert len(shop.prepared()) == 2
    shop.recover()
    assert shop.prepared() == []
    assert shop.status_of_user(user) is None


def test_a_decision_that_the_standby_may_not_have_is_shown_to_no_client(
    shop: EagerShop, removal: TransactionRecord, standby_is_away: Standby
) -> None:
    handed_on = shop.prepare_all(removal)
    with standby_is_away():
        with pytest.raises(Lost, match="stays"):
            shop.atomic("users").coordinator.decide(removal.id, 1, handed_on)
        with pytest.raises(Lost) as lost:
            shop.atomic("users").wait(removal.id, 1.0)
        assert lost.value.transaction == removal.id
        shop.call("users", "GET", f"/transactions/{removal.id}").problem(503, "unavailable")
    shop.recover()
    assert shop.transaction("users", removal.id)["state"] == "committed"


def test_a_request_that_the_standby_may_not_have_is_not_said_to_be_accepted(
    shop: EagerShop, user: int, order: int, standby_is_away: Standby
) -> None:
    with standby_is_away():
        answer = shop.remove_user(user, Prefer="respond-async").problem(504, "outcome-unknown")
    shop.recover()
    transaction = shop.transaction("users", answer["transaction"]["id"])
    assert transaction["state"] in ("committed", "aborted"), "the URL tells"


# ---- "pinned, unless stronger"


@pytest.mark.parametrize(
    ("said", "used"),
    [
        ("off", "on"),
        ("local", "on"),
        ("remote_write", "on"),
        ("on", "on"),
        ("remote_apply", "remote_apply"),
    ],
)
def test_a_commit_is_flushed_whatever_the_role_says(shop: EagerShop, said: str, used: str) -> None:
    shop.query("orders", f"ALTER ROLE CURRENT_USER SET synchronous_commit = '{said}'")
    engine = sa.create_engine(shop.engines["orders"].url, **engine_options(LIMITS, pool_size=1))
    try:
        with engine.connect() as connection:
            assert connection.scalar(sa.text("SHOW synchronous_commit")) == used
            connection.rollback()
            assert connection.scalar(sa.text("SHOW synchronous_commit")) == used, "after a rollback too"
    finally:
        engine.dispose()
        shop.query("orders", "ALTER ROLE CURRENT_USER RESET synchronous_commit")
