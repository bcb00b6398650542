"""One decision: of all who may decide, commit, give up or begin a new attempt, one wins the conditional update."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import UUID, uuid4

import pytest
from eager_shop import LIMITS, EagerShop
from eager_steps import begin_next_attempt, coordinator, give_up, state_of
from sqlalchemy.orm import Session

from atomic_commit import Impossible, TransactionRecord, journal
from atomic_commit.journal.records import State
from atomic_commit.wire.hand_over import Answer
from tests.installation import INSTALLATION

# ---- "Recovery aborts what a slow coordinator then commits. Both must win the same conditional update."


def test_a_coordinator_that_comes_after_recovery_has_given_up_commits_nothing(
    shop: EagerShop, removal: TransactionRecord, user: int, order: int
) -> None:
    handed_on = shop.prepare_all(removal)
    slow = shop.record("users", removal.id)
    give_up(shop, removal)
    with shop.post.loses():
        coordinator(shop).decide(removal.id, 1, handed_on)
        shop.abort("users", slow)
    assert state_of(shop, removal) == ("preparing", 2)
    assert shop.prepared() == []
    assert (shop.status_of_user(user), shop.status_of_order(order)) == ("removing", "open")
    shop.recover()
    assert state_of(shop, removal) == ("committed", 2)


def test_recovery_that_comes_after_the_coordinator_has_committed_aborts_nothing(
    shop: EagerShop, removal: TransactionRecord, user: int
) -> None:
    handed_on = shop.prepare_all(removal)
    stale = shop.record("users", removal.id)
    with shop.post.loses():
        coordinator(shop).decide(removal.id, 1, handed_on)
        shop.abort("users", stale)
    assert state_of(shop, removal) == ("committed", 1)
    shop.recover()
    assert shop.status_of_user(user) is None


def test_a_coordinator_that_comes_after_an_abort_commits_nothing(
    shop: EagerShop, removal: TransactionRecord, user: int, order: int
) -> None:
    handed_on = shop.prepare_all(removal)
    with shop.post.loses():
        shop.abort("users", shop.record("users", removal.id))
        coordinator(shop).decide(removal.id, 1, handed_on)
    assert state_of(shop, removal) == ("aborted", 1)
    shop.recover()
    assert (shop.status_of_user(user), shop.status_of_order(order)) == ("active", "open")


@pytest.mark.parametrize("round", range(4))
def test_of_two_who_decide_at_the_same_moment_one_wins_everywhere(
    shop: EagerShop, removal: TransactionRecord, user: int, order: int, teapot: int, round: int
) -> None:
    handed_on = shop.prepare_all(removal)
    record = shop.record("users", removal.id)
    together = threading.Barrier(2)

    def meet(decide: Callable[[], None]) -> threading.Thread:
        def run() -> None:
            together.wait()
            decide()

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    rivals = [
        meet(lambda: coordinator(shop).decide(removal.id, 1, handed_on)),
        meet(lambda: shop.abort("users", record)),
    ]
    for rival in rivals:
        rival.join()
    shop.recover()
    seen = (shop.status_of_user(user), shop.status_of_order(order), shop.stock_of(teapot))
    expected = {"committed": (None, "cancelled", 10), "aborted": ("active", "open", 6)}
    assert seen == expected[state_of(shop, removal)[0]], shop.tell()


def test_a_yes_from_every_branch_commits_after_the_deadline_too(shop: EagerShop, removal: TransactionRecord) -> None:
    handed_on = shop.prepare_all(removal)
    shop.deadline_passes()
    coordinator(shop).decide(removal.id, 1, handed_on)
    assert state_of(shop, removal) == ("committed", 1)


def test_silence_after_the_deadline_aborts(shop: EagerShop, removal: TransactionRecord, user: int, order: int) -> None:
    shop.prepare(shop.gids(removal)[0], shop.handed_on(removal))
    shop.deadline_passes()
    shop.recover()
    assert state_of(shop, removal) == ("aborted", 1)
    cause = shop.transaction("users", removal.id)["cause"]
    assert (cause["branch"], cause["cause"]) == ("products.restock", "silence")
    assert (shop.status_of_user(user), shop.status_of_order(order)) == ("active", "open")


def test_silence_while_nobody_was_there_to_listen_is_not_held_against_the_branches(
    shop: EagerShop, removal: TransactionRecord
) -> None:
    orders, products = shop.gids(removal)
    handed_on = shop.prepare(orders, shop.handed_on(removal))
    shop.time_passes(3600)  # every outcome worker of the users service was down for an hour, deadline and all
    with shop.post.loses():
        shop.sweep()
    assert state_of(shop, removal) == ("preparing", 1)
    handed_on = shop.prepare(products, handed_on)
    coordinator(shop).decide(removal.id, 1, handed_on)
    assert state_of(shop, removal) == ("committed", 1)


def test_patience_grows_with_every_silent_attempt(shop: EagerShop, removal: TransactionRecord) -> None:
    granted = []
    with shop.post.loses():
        for attempt in range(1, 4):
            record = shop.record("users", removal.id)
            assert record.attempt == attempt
            granted.append(round((record.patience_until - record.read_at).total_seconds()))
            shop.query(
                "users", "UPDATE transactions SET patience_until = clock_timestamp(), next_look_at = clock_timestamp()"
            )
            shop.sweep()
            for gid in shop.gids(record):
                answer = shop.participant_of(gid).rollback(gid)
                coordinator(shop).acknowledge(removal.id, attempt, gid.branch, answer)
            shop.time_passes(6)
            shop.sweep()
    assert granted == [5, 10, 20]
    shop.recover(rounds=20)


# ---- "A retry reuses an identifier, and an old outcome message hits the new attempt"


def test_outcome_messages_of_the_first_attempt_do_not_touch_the_second(
    shop: EagerShop, removal: TransactionRecord, order: int
) -> None:
    first = shop.gids(removal)
    shop.prepare_all(removal)
    give_up(shop, removal)
    begin_next_attempt(shop)
    record = shop.record("users", removal.id)
    handed_on = shop.prepare_all(record)
    second = [str(gid) for gid in shop.gids(record)]
    assert shop.prepared() == second
    for gid in first:
        assert shop.participant_of(gid).rollback(gid) is Answer.ROLLED_BACK
        coordinator(shop).acknowledge(removal.id, 1, gid.branch, Answer.ROLLED_BACK)
    coordinator(shop).decide(removal.id, 1, handed_on)
    assert shop.prepared() == second
    assert state_of(shop, removal) == ("preparing", 2)
    coordinator(shop).decide(removal.id, 2, handed_on)
    assert shop.status_of_order(order) == "cancelled"


def test_a_new_attempt_waits_until_the_old_one_is_settled_and_its_locks_are_gone(
    shop: EagerShop, removal: TransactionRecord
) -> None:
    shop.prepare(shop.gids(removal)[0], shop.handed_on(removal))
    with shop.post.loses():
        shop.time_passes(6)
        shop.sweep()
        for _ in range(3):
            shop.time_passes(6)
            shop.sweep()
    record = shop.record("users", removal.id)
    assert (record.attempt, record.dispatched) == (2, False)
    assert [branch.attempt for branch in record.branches] == [1, 1]
    assert len(shop.prepared()) == 1
    shop.recover()
    assert state_of(shop, removal) == ("committed", 2)


def test_the_right_to_publish_a_new_attempt_cannot_be_claimed_while_an_old_branch_owes_its_answer(
    shop: EagerShop, removal: TransactionRecord
) -> None:
    """Whoever has read that nothing is owed may have read too early: the claim itself looks again."""
    shop.prepare_all(removal)
    with shop.post.loses():
        give_up(shop, removal)
        first, second = shop.gids(removal)
        assert state_of(shop, removal) == ("preparing", 2)

        def claimed() -> bool:
            with Session(shop.engines["users"]) as session:
                return bool(journal.claim_waiting(session, "remove_user", attempts_at_once=4, size=64))

        shop.time_passes(LIMITS.backoff_cap)
        assert not claimed()
        coordinator(shop).acknowledge(removal.id, 1, first.branch, shop.participant_of(first).rollback(first))
        assert not claimed()
        coordinator(shop).acknowledge(removal.id, 1, second.branch, shop.participant_of(second).rollback(second))
    assert shop.record("users", removal.id).current_branches, "the last answer lets it go"
    shop.recover()


# ---- the coordinator's own change is the last resource


@contextmanager
def orders_that_nobody_can_insert(shop: EagerShop) -> Iterator[None]:
    """Something is wrong with the orders service that may pass: the disk beneath its table."""
    shop.query(
        "orders",
        "CREATE FUNCTION closed() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'could not write' USING ERRCODE = 'io_error'; END $$;"
        "CREATE TRIGGER closed BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION closed()",
    )
    try:
        yield
    finally:
        shop.query("orders", "DROP FUNCTION closed CASCADE")


def test_a_local_change_that_keeps_failing_aborts_after_its_attempts(shop: EagerShop, user: int, teapot: int) -> None:
    with orders_that_nobody_can_insert(shop):
        answer = shop.ask_to_place_order(user, {teapot: 1}, Idempotency_Key="k", Prefer="respond-async").expect(202)
        id = answer.json["transaction"]["id"]
        assert shop.transaction("orders", id)["attempt"] == 2
        shop.recover()
    transaction = shop.transaction("orders", id)
    assert (transaction["state"], transaction["attempt"]) == ("aborted", 3), transaction
    assert transaction["cause"]["branch"] == "orders.place_order", transaction
    assert transaction["cause"]["cause"] == "failed", transaction
    assert (shop.orders_of(user), shop.stock_of(teapot)) == ({}, 10)
    shop.ask_to_place_order(user, {teapot: 1}, Idempotency_Key="k").expect(201)


def test_a_local_change_that_fails_once_is_tried_again_and_commits(shop: EagerShop, user: int, teapot: int) -> None:
    with orders_that_nobody_can_insert(shop):
        shop.ask_to_place_order(user, {teapot: 1}, Prefer="respond-async").expect(202)
    shop.recover()
    assert (list(shop.orders_of(user).values()), shop.stock_of(teapot)) == (["open"], 9)


def test_a_local_change_that_meets_a_lock_is_tried_again_and_commits(shop: EagerShop, user: int, teapot: int) -> None:
    with shop.locked("orders", "LOCK TABLE orders IN ACCESS EXCLUSIVE MODE"):
        id = shop.ask_to_place_order(user, {teapot: 1}, Prefer="respond-async").expect(202).json["transaction"]["id"]
        transaction = shop.transaction("orders", id)
        assert (transaction["state"], transaction["attempt"]) == ("preparing", 2), transaction
        assert transaction["cause"]["cause"] == "conflict", transaction
    shop.recover()
    assert (list(shop.orders_of(user).values()), shop.stock_of(teapot)) == (["open"], 9)


def test_a_record_says_what_it_is(shop: EagerShop, removal: TransactionRecord) -> None:
    assert removal.state is State.PREPARING
    assert isinstance(removal.id, UUID)
    assert [str(gid) for gid in shop.gids(removal)] == [
        f"{INSTALLATION}:users.remove_user:{removal.id}:1:orders.cancel_user_orders",
        f"{INSTALLATION}:users.remove_user:{removal.id}:1:products.restock",
    ]
    shop.recover()


def test_a_transaction_that_nobody_accepted_is_impossible(shop: EagerShop) -> None:
    with pytest.raises(Impossible):
        coordinator(shop).decide(uuid4(), 1)
