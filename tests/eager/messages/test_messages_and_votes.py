"""Messages are hints and votes need proof: what is lost, doubled, late or forged changes nothing that is decided."""

from __future__ import annotations

from eager_shop import EagerShop, message
from eager_steps import begin_next_attempt, coordinator, forge, give_up, state_of

from atomic_commit import Refused, TransactionRecord
from atomic_commit.wire.hand_over import Answer

# ---- "The database rows are the only truth. Messages are hints; recovery re-sends whatever a row still needs."


def test_a_transaction_whose_every_message_was_lost_is_finished_by_recovery(
    shop: EagerShop, removal: TransactionRecord, user: int, order: int
) -> None:
    shop.recover()
    assert shop.status_of_user(user) is None
    assert shop.orders_of(user) == {order: "cancelled"}


def test_a_decision_whose_outcome_messages_were_lost_is_told_again(
    shop: EagerShop, removal: TransactionRecord, teapot: int
) -> None:
    handed_on = shop.prepare_all(removal)
    with shop.post.loses():
        coordinator(shop).decide(removal.id, 1, handed_on)
    assert len(shop.prepared()) == 2
    shop.time_passes(2)
    assert shop.sweep() == 1
    assert shop.prepared() == []
    assert shop.stock_of(teapot) == 10


def test_messages_that_come_twice_or_in_another_order_change_nothing(
    shop: EagerShop, removal: TransactionRecord
) -> None:
    handed_on = shop.prepare_all(removal)
    coordinator(shop).decide(removal.id, 1, handed_on)
    everything = shop.everything()
    for gid in reversed(shop.gids(removal)):
        coordinator(shop).acknowledge(removal.id, 1, gid.branch, Answer.COMMITTED)
        assert shop.participant_of(gid).commit(gid) is Answer.COMMITTED
        coordinator(shop).decide(removal.id, 1, handed_on)
        coordinator(shop).decide(removal.id, 1)
        coordinator(shop).look(removal.id)
    assert shop.everything() == everything


def test_an_answer_to_what_was_never_decided_settles_nothing(shop: EagerShop, removal: TransactionRecord) -> None:
    handed_on = shop.prepare_all(removal)
    for gid in shop.gids(removal):
        coordinator(shop).acknowledge(removal.id, 1, gid.branch, Answer.COMMITTED)
    assert not any(branch.settled_at for branch in shop.record("users", removal.id).branches)
    coordinator(shop).decide(removal.id, 1, handed_on)
    assert shop.prepared() == []


# ---- "A FAILURE or a missing result does not prove that a branch did not prepare"


def test_a_branch_that_prepared_and_then_failed_is_rolled_back_like_the_others(
    shop: EagerShop, removal: TransactionRecord, order: int
) -> None:
    shop.prepare_all(removal)
    forge(shop, shop.gids(removal)[1], Refused("no_room", "It says."), "FAILURE")
    coordinator(shop).decide(removal.id, 1)
    assert state_of(shop, removal) == ("aborted", 1)
    assert shop.prepared() == []
    assert shop.status_of_order(order) == "open"


def test_it_is_rolled_back_also_where_nobody_hears_of_the_decision_at_first(
    shop: EagerShop, removal: TransactionRecord, order: int
) -> None:
    shop.prepare_all(removal)
    forge(shop, shop.gids(removal)[1], Refused("no_room", "It says."), "FAILURE")
    with shop.post.loses():
        coordinator(shop).decide(removal.id, 1)
    assert len(shop.prepared()) == 2
    shop.recover()
    assert shop.prepared() == []
    assert shop.status_of_order(order) == "open"


def test_a_failure_that_turns_into_a_success_after_the_decision_changes_nothing(
    shop: EagerShop, removal: TransactionRecord, user: int, order: int
) -> None:
    products = shop.gids(removal)[1]
    handed_on = shop.prepare_all(removal)
    forge(shop, products, Refused("no_room", "It says."), "FAILURE")
    with shop.post.loses():
        coordinator(shop).decide(removal.id, 1)
    forge(shop, products, handed_on, "SUCCESS")
    coordinator(shop).decide(removal.id, 1, handed_on)
    shop.recover()
    assert state_of(shop, removal) == ("aborted", 1)
    assert (shop.status_of_user(user), shop.status_of_order(order)) == ("active", "open")


def test_a_success_without_the_proof_is_silence_and_commits_nothing(
    shop: EagerShop, removal: TransactionRecord, user: int
) -> None:
    database = shop.database_of(shop.gids(removal)[0])
    for result in ("ok", None, {}, {"prepared": {}}, {"prepared": {str(removal.id): database}}):
        for gid in shop.gids(removal):
            forge(shop, gid, result, "SUCCESS")
        coordinator(shop).decide(removal.id, 1)
        coordinator(shop).decide(removal.id, 1, message(removal))
        assert state_of(shop, removal) == ("preparing", 1), result
    shop.recover()
    assert state_of(shop, removal) == ("committed", 2)


def test_the_proof_of_an_earlier_attempt_is_no_proof(shop: EagerShop, removal: TransactionRecord) -> None:
    handed_on = shop.prepare_all(removal)
    give_up(shop, removal)
    begin_next_attempt(shop)
    coordinator(shop).decide(removal.id, 2, handed_on)
    assert state_of(shop, removal) == ("preparing", 2)
    shop.recover()


# ---- "decide takes votes from what the chain handed on and from AsyncResult"


def test_a_chain_that_ended_before_its_last_link_is_decided_by_its_results(
    shop: EagerShop, removal: TransactionRecord, user: int
) -> None:
    shop.prepare_all(removal)
    shop.time_passes(2)
    shop.sweep()
    assert state_of(shop, removal) == ("committed", 1)
    assert shop.status_of_user(user) is None


def test_a_result_that_is_not_stored_yet_is_not_needed_where_it_was_handed_on(
    shop: EagerShop, removal: TransactionRecord
) -> None:
    handed_on = shop.prepare_all(removal)
    for gid in shop.gids(removal):
        shop.celery.AsyncResult(str(gid)).forget()
    coordinator(shop).decide(removal.id, 1, handed_on)
    assert state_of(shop, removal) == ("committed", 1)


def test_a_revoked_task_is_a_final_no(shop: EagerShop, removal: TransactionRecord, user: int) -> None:
    orders, products = shop.gids(removal)
    shop.prepare(orders, shop.handed_on(removal))
    shop.celery.backend.mark_as_revoked(str(products), "terminated")
    coordinator(shop).decide(removal.id, 1)
    assert state_of(shop, removal) == ("aborted", 1)
    assert shop.transaction("users", removal.id)["cause"]["cause"] == "revoked"
    assert shop.status_of_user(user) == "active"
