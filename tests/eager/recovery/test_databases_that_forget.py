"""A database that comes back older: what participants know is found out, and nothing is decided without them."""

from __future__ import annotations

import logging
from typing import Any
from uuid import UUID

import pytest
from eager_forgetting import forgets_since, in_another_life, moment
from eager_line import all_placed, all_removed, prepare_together
from eager_shop import EagerShop

from atomic_commit import TransactionRecord
from atomic_commit.errors import Conflict, Fenced
from atomic_commit.journal.asking import JUMP
from atomic_commit.names import Gid
from atomic_commit.wire.hand_over import Answer, Found

pytestmark = pytest.mark.loud  # it is logged as an error, once for each life


def ends(shop: EagerShop, record: TransactionRecord, service: str = "users") -> tuple[str, bool]:
    """(decision, whether it is settled)"""
    now = shop.record(service, record.id)
    return str(now.state), now.settled_at is not None


def decide(shop: EagerShop, record: TransactionRecord, *, service: str = "users") -> list[Gid]:
    """It is prepared everywhere and decided to commit; nobody is told. Returns its branches."""
    handed_on, gids = shop.prepare_all(record), shop.gids(record)
    with shop.post.loses():
        shop.atomic(service).coordinator.decide(record.id, record.attempt, handed_on)
    return gids


def commit_at(shop: EagerShop, *gids: Gid) -> None:
    """The participants are told, and what they answer is lost."""
    for gid in gids:
        shop.participant_of(gid).commit(gid)


def removed(shop: EagerShop, user: int, order: int, teapot: int) -> tuple[Any, ...]:
    return shop.status_of_user(user), shop.status_of_order(order), shop.stock_of(teapot)


def second_attempt(shop: EagerShop, removal: TransactionRecord) -> TransactionRecord:
    """Somebody is in the way of the first, so there is another one; nobody has been sent its messages."""
    with shop.locked("orders", "SELECT FROM orders FOR UPDATE"), pytest.raises(Conflict):
        shop.prepare(shop.gids(removal)[0], shop.handed_on(removal))
    shop.atomic("users").coordinator.decide(removal.id, 1)
    shop.time_passes(8)
    with shop.post.loses():
        shop.sweep()
    second = shop.record("users", removal.id)
    assert second.attempt == 2, shop.tell()
    return second


# ---- the coordinator forgets


def test_a_decision_that_was_forgotten_is_found_at_the_participants(
    shop: EagerShop, user: int, order: int, teapot: int, removal: TransactionRecord
) -> None:
    then = moment(shop, "users")
    commit_at(shop, *decide(shop, removal))
    forgets_since(shop, then)
    assert ends(shop, removal) == ("preparing", False)
    shop.recover()
    assert ends(shop, removal) == ("committed", True)
    assert removed(shop, user, order, teapot) == (None, "cancelled", 10)
    assert shop.record("users", removal.id).attempt == 1, "the attempt that was decided, and no other"


def test_one_branch_that_is_done_proves_it_and_the_other_is_committed(
    shop: EagerShop, user: int, order: int, teapot: int, removal: TransactionRecord
) -> None:
    then = moment(shop, "users")
    first, second = decide(shop, removal)
    commit_at(shop, first)
    forgets_since(shop, then)
    assert shop.prepared() == [str(second)]
    shop.recover()
    assert ends(shop, removal) == ("committed", True)
    assert removed(shop, user, order, teapot) == (None, "cancelled", 10)


def test_without_a_proof_it_goes_again_under_a_number_that_was_never_used(
    shop: EagerShop, user: int, order: int, teapot: int, removal: TransactionRecord
) -> None:
    then = moment(shop, "users")
    decide(shop, removal)  # and nobody has heard of it
    forgets_since(shop, then)
    shop.recover()
    assert ends(shop, removal) == ("committed", True)
    assert shop.record("users", removal.id).attempt == 1 + JUMP
    assert removed(shop, user, order, teapot) == (None, "cancelled", 10)


def test_nothing_is_decided_before_the_participants_have_testified(
    shop: EagerShop, user: int, removal: TransactionRecord
) -> None:
    then = moment(shop, "users")
    handed_on = shop.prepare_all(removal)
    forgets_since(shop, then)
    coordinator = shop.atomic("users").coordinator
    assert coordinator.decide(removal.id, 1, handed_on) is None, "the chain of the life before has all yeses"
    with shop.post.loses():
        shop.time_passes(8)
        shop.sweep()
    assert ends(shop, removal) == ("preparing", False)
    assert any(task.endswith("products.testify") for task in shop.post.lost), shop.post.lost
    shop.recover()
    assert ends(shop, removal) == ("committed", True)


def test_who_is_asked_about_goes_into_no_attempt(shop: EagerShop, teapot: int) -> None:
    ada, bob = shop.add_user("Ada"), shop.add_user("Bob")
    begun = all_removed(shop, [ada, bob])
    forgets_since(shop, moment(shop, "users"))
    shop.dispatch("users", "remove_user")
    assert all(shop.record("users", record.id).waiting for record in begun)
    shop.recover()
    assert [ends(shop, record) for record in begun] == [("committed", True)] * 2


def test_who_is_asked_about_is_looked_at_also_after_the_last_answer_to_what_it_was_told_before(
    shop: EagerShop, user: int, order: int, teapot: int, removal: TransactionRecord
) -> None:
    """It was restored between two attempts; that the first is rolled back everywhere is answered while it is asked
    about."""
    gids = shop.gids(removal)
    with shop.locked("orders", "SELECT FROM orders FOR UPDATE"), pytest.raises(Conflict):
        shop.prepare(gids[0], shop.handed_on(removal))
    with shop.post.loses():
        shop.atomic("users").coordinator.decide(removal.id, 1)
    in_another_life(shop, "users")
    shop.sweep()
    assert shop.record("users", removal.id).asking_since
    for gid in gids:
        shop.participant_of(gid).rollback(gid)
        shop.atomic("users").coordinator.acknowledge(removal.id, 1, gid.branch, Answer.ROLLED_BACK)
    shop.recover()
    assert ends(shop, removal) == ("committed", True)
    assert removed(shop, user, order, teapot) == (None, "cancelled", 10)


def test_a_participant_that_is_away_is_waited_for(
    shop: EagerShop, user: int, order: int, teapot: int, removal: TransactionRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    then = moment(shop, "users")
    commit_at(shop, *decide(shop, removal))
    forgets_since(shop, then)
    with monkeypatch.context() as away:
        away.setattr(shop.atomic("products").testimony, "about", lambda *_: 1 / 0)
        for _ in range(4):
            shop.time_passes(8)
            shop.sweep()
    assert ends(shop, removal) == ("preparing", False)
    shop.recover()
    assert ends(shop, removal) == ("committed", True)


def test_an_attempt_that_was_forgotten_and_is_done_is_the_one_that_counts(
    shop: EagerShop, user: int, order: int, teapot: int, removal: TransactionRecord
) -> None:
    """The journal knows of the first attempt, and the second was decided."""
    then = moment(shop, "users")
    commit_at(shop, *decide(shop, second_attempt(shop, removal)))
    forgets_since(shop, then)
    shop.recover()
    assert ends(shop, removal) == ("committed", True)
    assert shop.record("users", removal.id).attempt == 2
    assert removed(shop, user, order, teapot) == (None, "cancelled", 10)


def test_results_of_the_life_before_are_no_votes(
    shop: EagerShop, user: int, order: int, teapot: int, removal: TransactionRecord
) -> None:
    """They say yes, but what they speak of was rolled back in the time that is forgotten."""
    then = moment(shop, "users")
    shop.prepare_all(removal)
    with shop.post.loses():
        shop.abort("users", removal)
    for gid in shop.gids(removal):
        shop.participant_of(gid).rollback(gid)
    forgets_since(shop, then)
    shop.recover()
    assert ends(shop, removal) == ("committed", True)
    assert shop.record("users", removal.id).attempt == 1 + JUMP
    assert removed(shop, user, order, teapot) == (None, "cancelled", 10)


def test_the_number_of_an_attempt_is_not_given_twice(
    shop: EagerShop, user: int, order: int, teapot: int, removal: TransactionRecord
) -> None:
    """The second attempt of the life before was prepared and rolled back. Another second one would find its yeses in
    the result backend, and its fences at the participants."""
    then = moment(shop, "users")
    second = second_attempt(shop, removal)
    shop.prepare_all(second)
    with shop.post.loses():
        shop.abort("users", second)
    for gid in shop.gids(second):
        shop.participant_of(gid).rollback(gid)
    forgets_since(shop, then)
    shop.recover()
    assert ends(shop, removal) == ("committed", True)
    assert removed(shop, user, order, teapot) == (None, "cancelled", 10)


@pytest.mark.leaves("unsettled", "undecided", "unbalanced")
def test_what_was_committed_here_and_rolled_back_there_is_quarantined_with_what_each_has_done(
    shop: EagerShop, removal: TransactionRecord
) -> None:
    then = moment(shop, "users")
    first, second = decide(shop, removal)
    commit_at(shop, first)
    shop.participant_of(second).rollback(second)  # by hand, say
    forgets_since(shop, then)
    for _ in range(3):
        shop.time_passes(8)
        shop.sweep()
    now = shop.record("users", removal.id)
    assert now.quarantined
    assert now.error is not None
    assert "orders.cancel_user_orders done, products.restock tombstone" in now.error


@pytest.mark.parametrize("done", [1, 2])
def test_values_that_only_a_participant_knows_are_asked_for(shop: EagerShop, user: int, teapot: int, done: int) -> None:
    """What an order costs was the answer of the products service; which can be read there once it is committed."""
    placing = shop.begin("orders", "place_order", user_id=user, lines=[{"product_id": teapot, "quantity": 3}])
    then = moment(shop, "orders")
    commit_at(shop, *decide(shop, placing, service="orders")[:done])
    forgets_since(shop, then)
    shop.celery.backend._cache.clear()
    shop.recover()
    assert ends(shop, placing, "orders") == ("committed", True)
    [order] = shop.get("orders", f"/orders?user_id={user}")
    assert [line["unit_price"] for line in order["lines"]] == [1999]
    assert shop.stock_of(teapot) == 7


def test_nobody_works_on_a_database_from_which_decided_changes_are_still_missing(
    shop: EagerShop, user: int, teapot: int
) -> None:
    """The order is decided, and the user has been let go of; of the order itself nothing is there until it is found
    out. A removal that went on would not see it."""
    placing = shop.begin("orders", "place_order", user_id=user, lines=[{"product_id": teapot, "quantity": 3}])
    then = moment(shop, "orders")
    commit_at(shop, *decide(shop, placing, service="orders"))
    forgets_since(shop, then)
    removal = shop.begin("users", "remove_user", user_id=user)
    with pytest.raises(Conflict, match="is being found out"):
        shop.prepare(shop.gids(removal)[0], shop.handed_on(removal))
    shop.recover()
    assert ends(shop, placing, "orders") == ("committed", True)
    assert ends(shop, removal) == ("committed", True)
    assert [order["status"] for order in shop.get("orders", f"/orders?user_id={user}")] == ["cancelled"]
    assert shop.stock_of(teapot) == 10


def test_nothing_is_run_again_on_a_database_from_which_decided_changes_are_still_missing(
    shop: EagerShop, user: int, order: int, teapot: int, removal: TransactionRecord
) -> None:
    gid = shop.gids(removal)[0]
    shop.atomic("users").coordinator.decide(removal.id, 1, shop.prepare_all(removal))
    shop.begin("orders", "place_order", user_id=shop.add_user("Bob"), lines=[{"product_id": teapot, "quantity": 1}])
    shop.query("orders", "DELETE FROM branch_rows")
    in_another_life(shop, "orders")
    again = shop.atomic("orders").run_again
    with pytest.raises(Conflict, match="is being found out"):
        again.redo(gid, {str(removal.id): {"user_id": user}}, 60.0, sure=True, meant_for=None)
    shop.recover()


def test_what_is_quarantined_keeps_nobody_from_working(shop: EagerShop, user: int, order: int, teapot: int) -> None:
    placing = shop.begin("orders", "place_order", user_id=user, lines=[{"product_id": teapot, "quantity": 3}])
    in_another_life(shop, "orders")
    shop.sweep()
    shop.atomic("orders").coordinator.quarantine(placing.id, "for a reason")
    removal = shop.begin("users", "remove_user", user_id=user)
    shop.prepare_all(removal)
    shop.query(
        "orders", "UPDATE transactions SET quarantined_at = NULL, next_look_at = now() WHERE id = :id", id=placing.id
    )
    shop.recover()
    assert ends(shop, removal) == ("committed", True)


def test_a_proof_is_found_also_where_the_life_before_is_not_known_to_be_over(
    shop: EagerShop, user: int, order: int, teapot: int, removal: TransactionRecord
) -> None:
    """The rollback is answered by "committed"."""
    then = moment(shop, "users")
    commit_at(shop, *decide(shop, removal))
    forgets_since(shop, then, unseen=True)
    for gid in shop.gids(removal):  # nobody knows what they have voted
        shop.celery.AsyncResult(str(gid)).forget()
    shop.recover()
    assert ends(shop, removal) == ("committed", True)
    assert removed(shop, user, order, teapot) == (None, "cancelled", 10)


# ---- messages that are newer than the databases


def commit_is_void(shop: EagerShop, gid: Gid) -> bool:
    """A commit that was sent before anything was forgotten arrives."""
    return shop.participant_of(gid).commit(gid) is Answer.VOID


def test_a_commit_that_is_newer_than_all_databases_does_nothing(
    shop: EagerShop, user: int, order: int, teapot: int, removal: TransactionRecord
) -> None:
    """All were restored to where one branch was prepared and the other was not; the broker has kept the commits."""
    then = [moment(shop, service) for service in ("users", "products")]
    first, second = shop.gids(removal)
    shop.prepare(first, shop.handed_on(removal))
    handed_on = shop.prepare(second, shop.handed_on(removal, before=first))
    with shop.post.loses():
        shop.atomic("users").coordinator.decide(removal.id, 1, handed_on)
    for each in then:
        forgets_since(shop, each)
    in_another_life(shop, "orders")
    assert commit_is_void(shop, first)
    assert shop.prepared() == [str(first)]
    shop.recover()
    assert ends(shop, removal) == ("committed", True)
    assert shop.record("users", removal.id).attempt == 1 + JUMP
    assert removed(shop, user, order, teapot) == (None, "cancelled", 10)


def test_who_has_testified_commits_nothing_that_the_life_before_has_sent(
    shop: EagerShop,
    user: int,
    order: int,
    teapot: int,
    removal: TransactionRecord,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The coordinator alone forgets; the commits wait in a long queue until a participant has testified."""
    then = moment(shop, "users")
    first, second = decide(shop, removal)
    forgets_since(shop, then)
    with monkeypatch.context() as away:
        away.setattr(shop.atomic("products").testimony, "about", lambda *_: 1 / 0)
        shop.sweep()  # it is noticed
        shop.time_passes(8)
        shop.sweep()
    assert commit_is_void(shop, first)
    assert shop.prepared() == [str(first), str(second)]
    shop.recover()
    assert ends(shop, removal) == ("committed", True)
    assert shop.record("users", removal.id).attempt == 1 + JUMP
    assert removed(shop, user, order, teapot) == (None, "cancelled", 10)


def test_it_is_promised_before_it_is_testified(
    shop: EagerShop, removal: TransactionRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is committed between the two would be testified as prepared, and be done."""
    in_another_life(shop, "users")
    testimony = shop.atomic("orders").testimony
    about, epochs = testimony.about, list[str | None]()

    def looked(*question: Any) -> Any:
        epochs.append(testimony.to("users", None))
        return about(*question)

    with monkeypatch.context() as watched:
        watched.setattr(testimony, "about", looked)
        shop.recover()
    assert epochs
    assert None not in epochs


def test_a_question_of_a_life_before_opens_an_epoch_too_and_none_comes_back(shop: EagerShop) -> None:
    testimony = shop.atomic("orders").testimony
    epochs = [testimony.to("users", life) for life in (None, "1", "1", "2", "1", None)]
    assert epochs[0] is None
    assert epochs[1] == epochs[2]
    assert epochs[4] == epochs[5]
    assert len(set(epochs)) == 4
    assert testimony.to("products", None) is None, "what one coordinator has forgotten is nothing to another"


def test_a_coordinator_whose_commit_was_void_sends_it_again(
    shop: EagerShop, user: int, order: int, teapot: int, removal: TransactionRecord, caplog: pytest.LogCaptureFixture
) -> None:
    """The participant fails over, and has everything."""
    first, _ = decide(shop, removal)
    in_another_life(shop, "orders")
    assert commit_is_void(shop, first)
    shop.recover()
    assert ends(shop, removal) == ("committed", True)
    assert removed(shop, user, order, teapot) == (None, "cancelled", 10)
    caplog.clear()
    again = shop.begin("users", "remove_user", user_id=shop.add_user("Bob"))
    shop.atomic("users").coordinator.decide(again.id, 1, shop.prepare_all(again))
    assert ends(shop, again) == ("committed", True)
    assert "is void" not in caplog.text, "the epoch is known by now"


def test_what_is_proven_is_committed_in_the_epoch_that_was_testified(
    shop: EagerShop, user: int, order: int, teapot: int, removal: TransactionRecord, caplog: pytest.LogCaptureFixture
) -> None:
    then = moment(shop, "users")
    commit_at(shop, decide(shop, removal)[0])
    forgets_since(shop, then)
    in_another_life(shop, "products")
    shop.recover()
    assert ends(shop, removal) == ("committed", True)
    assert removed(shop, user, order, teapot) == (None, "cancelled", 10)
    assert "is void" not in caplog.text


def test_what_was_testified_to_a_life_before_counts_for_nothing(
    shop: EagerShop, user: int, order: int, teapot: int, removal: TransactionRecord, caplog: pytest.LogCaptureFixture
) -> None:
    """The database is restored a second time, to before the branch was done that is testified about."""
    then = moment(shop, "users")
    forgets_since(shop, then)
    first, _ = shop.gids(removal)
    key = {"transaction": str(removal.id), "attempt": 1, "branch": first.branch}
    done = Found(**key, state="done", members={str(removal.id): {"quantities": []}})
    for service in ("orders", "products"):
        said = {"found": [done] * (service == "orders"), "holds": [], "database": "", "epoch": None}
        shop.atomic("users").coordinator.hear(removal.id, 0, "remove_user", service, said, "the life before")
    assert ends(shop, removal) == ("preparing", False)
    assert "that counts for nothing" in caplog.text
    shop.recover()
    assert ends(shop, removal) == ("committed", True)
    assert removed(shop, user, order, teapot) == (None, "cancelled", 10)


# ---- several in one attempt


def test_who_went_with_another_is_found_by_the_other_s_attempt(shop: EagerShop, teapot: int) -> None:
    ada, bob = shop.add_user("Ada"), shop.add_user("Bob")
    orders = [shop.place_order(user, {teapot: 2}) for user in (ada, bob)]
    begun = all_removed(shop, [ada, bob])
    then = moment(shop, "users")  # both wait, and nobody leads
    with shop.post.loses():
        shop.dispatch("users", "remove_user")
    handed_on = prepare_together(shop, "users", begun)
    leader = shop.record("users", begun[0].id)
    with shop.post.loses():
        shop.atomic("users").coordinator.decide(leader.id, 1, handed_on)
    commit_at(shop, *shop.gids(leader))
    forgets_since(shop, then)
    shop.recover()
    assert [ends(shop, record) for record in begun] == [("committed", True)] * 2
    assert [shop.record("users", record.id).led_by for record in begun] == [(leader.id, 1)] * 2
    assert [shop.status_of_order(order) for order in orders] == ["cancelled"] * 2
    assert shop.stock_of(teapot) == 10


def test_who_was_left_out_of_what_it_led_goes_again(shop: EagerShop, teapot: int) -> None:
    """The first wants more than there is; the attempt that it leads is done without it."""
    user = shop.add_user("Ada")
    begun = all_placed(shop, (user, {teapot: 11}), (user, {teapot: 2}))
    then = moment(shop, "orders")
    with shop.post.loses():
        shop.dispatch("orders", "place_order")
    handed_on = prepare_together(shop, "orders", begun)
    assert list(handed_on["dropped"]) == [str(begun[0].id)]
    with shop.post.loses():
        shop.atomic("orders").coordinator.decide(begun[0].id, 1, handed_on)
    commit_at(shop, *shop.gids(shop.record("orders", begun[0].id)))
    forgets_since(shop, then)
    shop.recover()
    assert [ends(shop, record, "orders")[0] for record in begun] == ["aborted", "committed"]
    assert shop.stock_of(teapot) == 8
    assert len(shop.orders_of(user)) == 1


def test_what_others_have_decided_in_an_attempt_counts_though_who_led_it_was_left_out_and_knows_of_nothing(
    shop: EagerShop, user: int, teapot: int
) -> None:
    """Somebody holds what the first wants, so it goes again; the second is decided, and nobody has heard of it."""
    kettle = shop.add_product("kettle", stock=5)
    begun = all_placed(shop, (user, {kettle: 1}), (user, {teapot: 2}))
    with shop.post.loses():
        shop.dispatch("orders", "place_order")
    with shop.locked("products", f"SELECT FROM products WHERE id = {kettle} FOR UPDATE"):
        handed_on = prepare_together(shop, "orders", begun)
    assert list(handed_on["dropped"]) == [str(begun[0].id)]
    with shop.post.loses():
        shop.atomic("orders").coordinator.decide(begun[0].id, 1, handed_on)
    assert [ends(shop, record, "orders")[0] for record in begun] == ["preparing", "committed"]
    shop.query("orders", "UPDATE transactions SET next_look_at = now() + interval '5 s'")  # the second is not told yet
    in_another_life(shop, "orders")
    shop.sweep()  # it is noticed
    shop.query("orders", "UPDATE transactions SET next_look_at = now() WHERE state = 'preparing'")
    shop.sweep()  # and asked about
    shop.recover()
    assert [ends(shop, record, "orders") for record in begun] == [("committed", True)] * 2
    assert (shop.stock_of(kettle), shop.stock_of(teapot)) == (4, 8)


# ---- a branch asks


def test_a_branch_of_what_is_settled_is_settled_again(
    shop: EagerShop, user: int, order: int, teapot: int, removal: TransactionRecord
) -> None:
    before = moment(shop, "products")
    handed_on = shop.prepare_all(removal)
    shop.atomic("users").coordinator.decide(removal.id, 1, handed_on)
    assert ends(shop, removal) == ("committed", True)
    forgets_since(shop, before)
    gid = shop.gids(removal)[1]
    shop.prepare(gid, shop.handed_on(removal, before=shop.gids(removal)[0]))
    assert shop.prepared() == [str(gid)]
    assert shop.inquire() == 1
    assert shop.prepared() == []
    assert shop.stock_of(teapot) == 10


def test_a_branch_of_what_was_aborted_is_rolled_back_again(
    shop: EagerShop, user: int, order: int, teapot: int, removal: TransactionRecord
) -> None:
    before = moment(shop, "products")
    shop.prepare_all(removal)
    shop.abort("users", removal)
    shop.recover()
    forgets_since(shop, before)
    gid = shop.gids(removal)[1]
    shop.prepare(gid, shop.handed_on(removal, before=shop.gids(removal)[0]))
    shop.inquire()
    assert shop.prepared() == []
    assert removed(shop, user, order, teapot) == ("active", "open", 6)
    with pytest.raises(Fenced):
        shop.prepare(gid, shop.handed_on(removal, before=shop.gids(removal)[0]))


def test_who_is_undecided_is_left_alone(shop: EagerShop, removal: TransactionRecord) -> None:
    handed_on = shop.prepare_all(removal)
    assert shop.inquire() == 2
    assert shop.prepared() == [str(gid) for gid in shop.gids(removal)]
    shop.atomic("users").coordinator.decide(removal.id, 1, handed_on)
    assert ends(shop, removal) == ("committed", True)


def test_the_same_branch_asks_less_and_less_often(
    shop: EagerShop, removal: TransactionRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.prepare_all(removal)
    now = [1000.0]
    monkeypatch.setattr("atomic_commit.participant.inquiry.time.monotonic", lambda: now[0])
    asked = []
    for second in range(200):
        now[0] = 1000.0 + second
        asked += [second] * shop.atomic("orders").inquiry.look()
    assert asked == [0, 10, 30, 70, 150]
    shop.recover()


def test_a_branch_that_nobody_knows_is_rolled_back(shop: EagerShop, user: int, order: int, teapot: int) -> None:
    """It was never accepted, as far as the coordinator knows, and nobody has done anything of it."""
    then = moment(shop, "users")
    removal = shop.begin("users", "remove_user", user_id=user)
    gids = shop.gids(removal)
    shop.prepare_all(removal)
    forgets_since(shop, then)
    assert shop.prepared() == [str(gid) for gid in gids]
    shop.inquire()
    assert shop.prepared() == []
    assert removed(shop, user, order, teapot) == ("active", "open", 6)
    assert shop.query("orders", "SELECT kind FROM branch_rows WHERE transaction_id = :t", t=removal.id) == [
        ("tombstone",)
    ], "a message that is still on its way meets it"


@pytest.mark.leaves("unbalanced")
def test_a_branch_that_nobody_knows_is_committed_where_another_one_is_done(
    shop: EagerShop, user: int, order: int, teapot: int
) -> None:
    """What the coordinator has forgotten is lost; what the participants have promised each other is not."""
    then = moment(shop, "users")
    removal = shop.begin("users", "remove_user", user_id=user)
    first, _ = decide(shop, removal)
    commit_at(shop, first)
    forgets_since(shop, then)
    assert shop.inquire() == 1
    assert shop.prepared() == []
    assert (shop.status_of_order(order), shop.stock_of(teapot)) == ("cancelled", 10)
    assert shop.status_of_user(user) == "active", "that is lost"


@pytest.mark.parametrize(("age", "age_of_database"), [(1.01, 3), (0.5, 0.4)], ids=["retention", "a-new-database"])
@pytest.mark.leaves("prepared")
def test_a_branch_that_is_older_than_the_journal_is_left_to_a_person(
    shop: EagerShop,
    user: int,
    order: int,
    caplog: pytest.LogCaptureFixture,
    age: float,
    age_of_database: float,
) -> None:
    then = moment(shop, "users")
    removal = shop.begin("users", "remove_user", user_id=user)
    gids = shop.gids(removal)
    shop.prepare_all(removal)
    forgets_since(shop, then)
    week = 7 * 86400.0
    made = "UPDATE database_identity SET created_at = clock_timestamp() - make_interval(secs => :age)"
    shop.query("users", made, age=age_of_database * week)
    shop.atomic("users").coordinator.asking.inquired(gids[0], age * week)
    assert shop.prepared() == [str(gid) for gid in gids]
    assert [r for r in caplog.records if r.levelno == logging.CRITICAL and "reaches back" in r.getMessage()]


@pytest.mark.leaves("prepared")
def test_what_strangers_have_prepared_is_not_asked_about(shop: EagerShop) -> None:
    stranger = f"shop.elsewhere:users.remove_user:{UUID(int=7)}:1:orders.cancel_user_orders"
    shop.query_outside("orders", f"BEGIN; SELECT pg_current_xact_id(); PREPARE TRANSACTION '{stranger}'")
    assert shop.prepared() == [stranger]
    assert shop.inquire() == 0


# ---- another life


def life(shop: EagerShop, service: str) -> Any:
    return shop.query(service, "SELECT life, forked_at, forked_since FROM database_identity")[0]


def test_the_first_life_that_is_seen_is_written_down_and_no_fork(shop: EagerShop) -> None:
    shop.query("users", "UPDATE database_identity SET life = NULL, forked_at = NULL")
    shop.reconnect("users")
    shop.add_user("Ada")
    seen, forked, _ = life(shop, "users")
    assert seen.count("/") == 2
    assert forked is None


def test_an_id_that_was_forgotten_is_not_given_again(shop: EagerShop) -> None:
    then = moment(shop, "users")
    forgotten = shop.add_user("Ada", email="ada@shop.example")
    forgets_since(shop, then)
    assert shop.add_user("Bob", email="bob@shop.example") > forgotten


@pytest.mark.parametrize("seconds", [0, 3600])
def test_ids_are_skipped_by_how_much_may_have_been_forgotten(shop: EagerShop, seconds: int) -> None:
    last = shop.add_user("Ada", email="ada@shop.example")
    then = moment(shop, "users")
    forgets_since(shop, then)
    shop.query(
        "users", "UPDATE database_identity SET seen_at = clock_timestamp() - make_interval(secs => :s)", s=seconds
    )
    skipped = shop.add_user("Bob", email="bob@shop.example") - last
    assert 1000 * (seconds + 1) <= skipped <= 1000 * (seconds + 10)


def test_a_sequence_that_is_too_short_lets_nobody_in(shop: EagerShop) -> None:
    then = moment(shop, "users")
    forgets_since(shop, then)
    shop.query("users", "UPDATE database_identity SET seen_at = clock_timestamp() - interval '100 years'")
    try:
        shop.call("users", "POST", "/users", {"name": "Ada", "email": "ada@shop.example"}).problem(503, "unavailable")
        assert life(shop, "users")[0] == "the one before"
    finally:
        shop.query("users", "UPDATE database_identity SET seen_at = clock_timestamp()")


def test_one_connection_takes_over_and_the_others_find_it_done(
    shop: EagerShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    then = moment(shop, "users")
    forgets_since(shop, then)
    first = shop.add_user("Ada", email="ada@shop.example")
    monkeypatch.setattr("atomic_commit.postgres.lives._differs", lambda _: True)  # it looked before the first was done
    shop.reconnect("users")
    assert shop.add_user("Bob", email="bob@shop.example") == first + 1


def test_a_log_that_ends_before_where_it_was_is_a_fork_as_well(
    shop: EagerShop, removal: TransactionRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    lives = shop.atomic("users").lives
    before = life(shop, "users")[1]
    lives.beat()
    assert life(shop, "users")[1] == before
    seen, end = lives._seen
    monkeypatch.setattr(lives, "_seen", (seen, end + 10_000_000))
    fork = lives.beat()
    assert fork is not None
    assert fork.at != before
    assert shop.record("users", removal.id).asking_since
    shop.recover()


def test_a_connection_that_outlives_its_server_is_noticed_all_the_same(shop: EagerShop) -> None:
    """Behind a pooler."""
    lives = shop.atomic("users").lives
    lives.beat()
    shop.query("users", "UPDATE database_identity SET life = 'the one before', forked_at = NULL")
    assert lives.beat() is not None
    assert life(shop, "users")[0] != "the one before"


def test_a_person_can_say_that_a_database_has_come_back_older(shop: EagerShop, removal: TransactionRecord) -> None:
    lives = shop.atomic("users").lives
    lives.beat()
    before = life(shop, "users")[1]
    lives.came_back_older()
    assert life(shop, "users")[1] != before
    assert shop.record("users", removal.id).asking_since
    shop.recover()


def test_a_fork_is_known_by_when_the_life_before_was_last_seen(shop: EagerShop) -> None:
    lives = shop.atomic("users").lives
    lives.beat()
    [(seen_at,)] = shop.query("users", "SELECT seen_at FROM database_identity")
    shop.query("users", "UPDATE database_identity SET life = 'the one before'")
    shop.reconnect("users")
    fork = lives.beat()
    assert fork is not None
    assert fork.since == seen_at


def test_the_transaction_of_somebody_else_is_nobody_s_here(shop: EagerShop, caplog: pytest.LogCaptureFixture) -> None:
    gid = Gid.parse(f"shop.tests:users.refund:{UUID(int=5)}:1:products.restock")
    shop.atomic("users").coordinator.asking.inquired(gid, 60)
    assert [r for r in caplog.records if r.levelno == logging.CRITICAL and "its kind" in r.getMessage()]


def test_all_others_are_told_once_of_each_fork(shop: EagerShop) -> None:
    atomic = shop.atomic("users")
    shop.query("users", "UPDATE database_identity SET life = 'the one before'")
    with shop.post.loses():
        atomic.watch()
        atomic.watch()
    told = sorted(task for task in shop.post.lost if task.endswith("came_back_older"))
    assert [task.split(".")[-2] for task in told] == ["orders", "products"]


def test_all_others_are_told_again_because_who_was_told_may_have_died(shop: EagerShop) -> None:
    atomic = shop.atomic("users")
    shop.query("users", "UPDATE database_identity SET life = 'the one before'")
    with shop.post.loses():
        for seconds in (0, 0, 61, 0, 540, 0, 3000):
            shop.query(
                "users", "UPDATE database_identity SET forked_at = forked_at - make_interval(secs => :s)", s=seconds
            )
            atomic._told = (life(shop, "users")[1], atomic._told[1])
            atomic.watch()
    assert len([task for task in shop.post.lost if task.endswith("orders.came_back_older")]) == 3


def test_a_fork_of_long_ago_is_not_told_again_by_a_worker_that_starts(shop: EagerShop) -> None:
    atomic = shop.atomic("users")
    shop.query("users", "UPDATE database_identity SET life = 'the one before'")
    atomic.lives.beat()
    shop.query("users", "UPDATE database_identity SET forked_at = forked_at - interval '2 hours'")
    with shop.post.loses():
        atomic.watch()
    assert not [task for task in shop.post.lost if task.endswith("came_back_older")]
