"""Rows that grow old: what is removed, in which order, and what never is."""

from __future__ import annotations

import dataclasses
import datetime as dt
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import pytest
from celery import Celery
from celery.contrib.testing.worker import start_worker
from celery.signals import setup_logging
from eager_shop import LIMITS, EagerShop, message

from atomic_commit import Fenced, Limits, configure
from atomic_commit.journal.records import attempt_of
from atomic_commit.journal.retention import remove_old
from atomic_commit.wire.hand_over import Answer
from atomic_commit.wire.messages import Messages
from celery_config.manifest import SERVICES
from orders_service import create_app as create_orders
from tests.installation import INSTALLATION

DAY = 86400.0
AGES = Limits(keep_transactions=7 * DAY, keep_branch_rows=30 * DAY)


def grown_older(shop: EagerShop, seconds: float) -> None:
    """Every moment in every journal, and every branch row, is so much longer ago."""
    for service in SERVICES:
        for table in ("transactions", "transaction_branches", "branch_rows", "local_calls"):
            moments = [
                name
                for (name,) in shop.query(
                    service,
                    "SELECT column_name FROM information_schema.columns WHERE table_name = :t"
                    " AND data_type = 'timestamp with time zone'",
                    t=table,
                )
            ]
            moved = ", ".join(f"{name} = {name} - make_interval(secs => :by)" for name in moments)
            shop.query(service, f"UPDATE {table} SET {moved}", by=seconds)


def clean(shop: EagerShop) -> int:
    """Retention in all services, until there is no more to remove."""
    removed = 0
    for service in SERVICES:
        while now := remove_old(shop.engines[service], AGES):
            removed += now
    return removed


def kept(shop: EagerShop) -> dict[str, int]:
    """How many rows are left: of journals, of their branches, and of branch rows in the participants."""
    tables = ("transactions", "transaction_branches", "branch_rows")
    return {table: sum(shop.query(s, f"SELECT count(*) FROM {table}")[0][0] for s in SERVICES) for table in tables}


def test_a_local_call_is_kept_as_long_as_a_settled_transaction(shop: EagerShop, teapot: int) -> None:
    path, key = f"/products/{teapot}/stock", {"Idempotency-Key": "one-change"}
    shop.call("products", "POST", path, {"delta": 1}, headers=key).expect(200)
    for age, left in ((6.9, 1), (0.2, 0)):
        grown_older(shop, age * DAY)
        clean(shop)
        assert shop.query("products", "SELECT count(*) FROM local_calls") == [(left,)]


def test_a_settled_transaction_goes_with_its_branches_when_it_is_old_and_the_branch_rows_only_much_later(
    shop: EagerShop, user: int
) -> None:
    shop.remove_user(user).expect(200)
    whole = {"transactions": 1, "transaction_branches": 2, "branch_rows": 2}
    assert kept(shop) == whole
    grown_older(shop, 6.9 * DAY)
    assert clean(shop) == 0
    assert kept(shop) == whole
    grown_older(shop, 0.2 * DAY)
    clean(shop)
    assert kept(shop) == {"transactions": 0, "transaction_branches": 0, "branch_rows": 2}
    grown_older(shop, 22.8 * DAY)
    assert clean(shop) == 0
    grown_older(shop, 0.2 * DAY)
    assert clean(shop) == 2
    assert kept(shop) == {"transactions": 0, "transaction_branches": 0, "branch_rows": 0}


def test_the_age_of_a_transaction_counts_from_when_it_was_settled_not_from_when_it_was_accepted(
    shop: EagerShop, user: int
) -> None:
    removal = shop.begin("users", "remove_user", user_id=user)
    grown_older(shop, 8 * DAY)
    shop.recover()
    assert clean(shop) == 0
    assert shop.record("users", removal.id).settled_at


def test_a_young_transaction_is_kept_where_an_old_one_goes(shop: EagerShop, user: int) -> None:
    shop.remove_user(shop.add_user("Grace")).expect(200)
    grown_older(shop, 8 * DAY)
    young = shop.remove_user(user).expect(200).json["transaction"]["id"]
    clean(shop)
    assert [t["id"] for t in shop.get("users", "/transactions")] == [young]


@pytest.mark.loud
@pytest.mark.leaves("undecided", "prepared", "unbalanced")
@pytest.mark.parametrize("what", ["undecided", "prepared", "owed", "quarantined"])
def test_what_is_not_settled_is_kept_with_its_branches_however_old_it_is(shop: EagerShop, user: int, what: str) -> None:
    removal = shop.begin("users", "remove_user", user_id=user)
    coordinator = shop.atomic("users").coordinator
    if what != "undecided":
        handed_on = shop.prepare_all(removal)
    if what in ("owed", "quarantined"):
        with shop.post.loses():
            coordinator.decide(removal.id, 1, handed_on)
    if what == "quarantined":
        coordinator.quarantine(removal.id, "a person has to look")
    before = kept(shop)
    assert before == {"transactions": 1, "transaction_branches": 2, "branch_rows": 0}
    grown_older(shop, 400 * DAY)
    assert clean(shop) == 0
    assert kept(shop) == before
    assert len(shop.prepared()) == (0 if what == "undecided" else 2)


def test_more_rows_than_one_batch_takes_all_go(shop: EagerShop) -> None:
    shop.query(
        "users",
        "INSERT INTO transactions"
        ' (id, kind, state, attempt, dispatched, "values", created_at, deadline, patience_until, settled_at)'
        " SELECT gen_random_uuid(), 'remove_user', 'committed', 1, true, '{}', at, at, at, at"
        " FROM (SELECT now() - interval '8 days' AS at FROM generate_series(1, 2500)) AS made",
    )
    assert [remove_old(shop.engines["users"], AGES) for _ in range(4)] == [1000, 1000, 500, 0]


def test_a_row_that_somebody_holds_is_left_for_the_next_pass_and_nobody_waits(shop: EagerShop, user: int) -> None:
    shop.remove_user(user).expect(200)
    grown_older(shop, 8 * DAY)
    with shop.locked("users", "SELECT 1 FROM transactions FOR UPDATE"):
        assert remove_old(shop.engines["users"], AGES) == 0
    assert remove_old(shop.engines["users"], AGES) == 1


# ---- a late prepare


def sent(shop: EagerShop, user: int, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, list[Any]]:
    """A removal, and the messages that its coordinator has published for its first attempt and for the abort."""
    carried: list[Any] = []
    monkeypatch.setattr(shop.post, "carry", lambda messages, signature: carried.append(signature) or True)
    removal = shop.atomic("users").begin("remove_user", {"user_id": user})
    shop.abort("users", removal)
    shop.send_outcomes("users", removal.id)
    monkeypatch.undo()
    return removal, carried


def test_a_tombstone_outlives_every_message_that_could_bring_a_late_prepare(
    shop: EagerShop, user: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the end that each message carries, whether or not the transaction is settled by then."""
    removal, carried = sent(shop, user, monkeypatch)
    chain, *outcomes = carried
    for gid in shop.gids(removal):
        assert shop.participant_of(gid).rollback(gid) is Answer.ROLLED_BACK
    [(tombstone,)] = shop.query("orders", "SELECT created_at FROM branch_rows")
    removed_at = tombstone + dt.timedelta(seconds=LIMITS.keep_branch_rows)
    links = [link for link in chain.tasks if "decide" not in link.task]
    assert len(links) == 2
    assert len(outcomes) == 2
    for letter in (*links, *outcomes):
        end = dt.datetime.fromisoformat(letter.options["expires"])
        assert end < removed_at - dt.timedelta(seconds=LIMITS.keep_branch_rows / 2) + dt.timedelta(minutes=1), letter
        assert end > tombstone + dt.timedelta(seconds=LIMITS.deadline), "a message lives as long as it may be wanted"
    shop.recover()


def test_a_sender_that_was_stopped_in_between_sends_what_is_too_old_already(
    shop: EagerShop, user: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    removal, _ = sent(shop, user, monkeypatch)
    carried: list[Any] = []
    with monkeypatch.context() as patch:
        patch.setattr(shop.post, "carry", lambda messages, signature: carried.append(signature) or True)
        shop.atomic("users").messages.send_attempt(attempt_of([removal]))
        shop.atomic("users").messages.send_attempt(attempt_of([removal]))
    first, second = ([link.options.get("expires") for link in chain.tasks] for chain in carried)
    assert first == second, "the end goes by the rows, not by when it is sent"
    shop.recover()


@contextmanager
def logging_as_it_is() -> Iterator[None]:
    """A worker would set up the logging of its whole process, which here is that of all tests."""

    def leave_it(**_: Any) -> None: ...

    setup_logging.connect(leave_it)
    try:
        yield
    finally:
        setup_logging.disconnect(leave_it)


def test_a_worker_does_not_take_up_a_message_whose_end_has_come(shop: EagerShop, user: int) -> None:
    """A real worker, and a message that waited too long in its queue before one that did not."""
    celery = configure(
        Celery("one-worker", set_as_current=False),
        installation=INSTALLATION,
        service="orders",
        services=SERVICES,
        broker_url="memory://",
        result_backend_url="cache+memory://",
    )
    url = shop.engines["orders"].url.render_as_string(hide_password=False)
    app = create_orders(url=url, celery=celery, limits=LIMITS)
    messages = Messages(celery, INSTALLATION, "users", LIMITS.message_lifetime, lambda service: None)
    late = shop.begin("users", "remove_user", user_id=user)
    fresh = shop.begin("users", "remove_user", user_id=shop.add_user("Grace"))
    month = dt.timedelta(seconds=LIMITS.message_lifetime + 1)
    assert messages.send_attempt(attempt_of([dataclasses.replace(late, read_at=late.read_at - month)]))
    assert messages.send_attempt(attempt_of([fresh]))
    with (
        logging_as_it_is(),
        start_worker(celery, pool="solo", queues=INSTALLATION.branch_queue("orders"), perform_ping_check=False),
    ):
        give_up_at = time.monotonic() + 30
        while not shop.prepared() and time.monotonic() < give_up_at:
            time.sleep(0.05)
    app.extensions["atomic_commit"].clock.stop()  # nobody has told this worker to end
    assert shop.prepared() == [str(shop.gids(fresh)[0])]
    assert messages.status_of(str(shop.gids(late)[0])) == "REVOKED"
    shop.recover()


def test_a_late_prepare_is_refused_while_the_tombstone_stands_also_after_its_transaction_was_removed(
    shop: EagerShop, user: int
) -> None:
    removal = shop.begin("users", "remove_user", user_id=user)
    shop.deadline_passes()
    shop.recover()
    grown_older(shop, 29 * DAY)
    clean(shop)
    assert kept(shop) == {"transactions": 0, "transaction_branches": 0, "branch_rows": 2}
    for gid in shop.gids(removal):
        with pytest.raises(Fenced):
            shop.prepare(gid, message(removal, quantities=[]))
    assert shop.prepared() == []


def test_a_rollback_repeated_after_the_tombstone_has_gone_fences_again(shop: EagerShop, user: int) -> None:
    removal = shop.begin("users", "remove_user", user_id=user)
    shop.deadline_passes()
    shop.recover()
    grown_older(shop, 31 * DAY)
    clean(shop)
    assert kept(shop)["branch_rows"] == 0
    orders, _ = shop.gids(removal)
    assert shop.participant_of(orders).rollback(orders) is Answer.ROLLED_BACK
    with pytest.raises(Fenced):
        shop.prepare(orders, message(removal))


@pytest.mark.loud
@pytest.mark.leaves("unsettled", "unbalanced")
def test_a_commit_repeated_after_its_proof_has_gone_is_loud_and_never_taken_for_done(
    shop: EagerShop, user: int
) -> None:
    """As where every outcome worker of the coordinator was down for a month right after the commit."""
    removal = shop.begin("users", "remove_user", user_id=user)
    handed_on = shop.prepare_all(removal)
    with shop.post.loses():
        shop.atomic("users").coordinator.decide(removal.id, 1, handed_on)
    for gid in shop.gids(removal):
        assert shop.participant_of(gid).commit(gid) is Answer.COMMITTED
    grown_older(shop, 31 * DAY)
    clean(shop)
    shop.sweep()
    transaction = shop.transaction("users", removal.id)
    assert (transaction["state"], transaction["decision"]) == ("quarantined", "committed"), transaction
    assert UUID(transaction["id"]) == removal.id
