"""What a participant has lost runs there again, once, with what was recorded; and a person has a say where that may be
wrong."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
from eager_command import Command
from eager_line import all_placed
from eager_losses import (
    CANCEL,
    HOLD,
    RESTOCK,
    TAKE,
    deaf,
    forget_branch,
    forget_cancelling,
    forget_restocking,
    forget_transaction,
    members_of,
    open_losses,
    placed,
    removed,
    removed_together,
)
from eager_shop import LIMITS, EagerShop
from sqlalchemy import text
from sqlalchemy.orm import Session

from atomic_commit import Conflict, Lost, Refused, TransactionRecord, WrongDatabase
from atomic_commit.journal import losses
from atomic_commit.journal.retention import remove_old
from atomic_commit.names import Gid
from atomic_commit.participant import redo as participant_redo
from atomic_commit.wire.hand_over import Answer
from atomic_commit.wire.messages import Messages
from tests.installation import INSTALLATION

pytestmark = [pytest.mark.loud, pytest.mark.usefixtures("at_once")]


def undeclared(shop: EagerShop, monkeypatch: pytest.MonkeyPatch, branch: str) -> None:
    """The branch is not declared as safe to redo."""
    declared = shop.atomic(branch.partition(".")[0])._branches.declared
    monkeypatch.setitem(declared, branch, replace(declared[branch], safe_to_redo=False))


def gid_of(record: TransactionRecord, branch: str) -> Gid:
    return next(Gid.parse(one.task_id) for one in record.branches if one.name == branch)


def values_of(shop: EagerShop, record: TransactionRecord) -> dict[str, Any]:
    now = shop.record("users", record.id)
    return {str(record.id): {**now.values, **(now.branch_values or {})}}


# ---- it runs again


def test_orders_that_were_cancelled_are_cancelled_again(
    shop: EagerShop, command: Command, teapot: int, order: int, done: TransactionRecord
) -> None:
    kept = members_of(shop, done, CANCEL)
    forget_cancelling(shop, done, order)
    said = command("users", "redo", str(done.id))
    assert (said.code, said.err) == (0, "")
    assert said.lines == [f"{CANCEL} of attempt 1 was run again at orders for {done.id}"]
    assert (shop.status_of_order(order), shop.stock_of(teapot)) == ("cancelled", 10)
    assert members_of(shop, done, CANCEL) == kept, "its row is as it was"
    assert command("users", "verify").code == 0
    assert open_losses(shop, "users") == []
    assert shop.query("users", "SELECT closed_because FROM losses") == [("redone",)]


def test_goods_that_were_put_back_are_put_back_once(
    shop: EagerShop, command: Command, teapot: int, done: TransactionRecord
) -> None:
    forget_restocking(shop, done, teapot, 4)
    assert shop.stock_of(teapot) == 6
    assert command("users", "redo", str(done.id)).code == 0
    assert shop.stock_of(teapot) == 10
    said = command("users", "redo", str(done.id))
    assert (said.code, said.out) == (2, "")
    assert said.err == f"nothing done: nothing of {done.id} is lost, or a person has closed it\n"
    assert shop.stock_of(teapot) == 10


def test_goods_that_were_ordered_are_taken_though_they_cost_more_by_now(
    shop: EagerShop, command: Command, user: int, teapot: int
) -> None:
    placing = placed(shop, user, {teapot: 3})
    kept = members_of(shop, placing, TAKE)
    forget_branch(shop, placing, TAKE)
    shop.query("products", "UPDATE products SET stock = stock + 3, price = price + 100 WHERE id = :id", id=teapot)
    assert command("orders", "redo", str(placing.id)).code == 0
    assert shop.stock_of(teapot) == 7
    assert members_of(shop, placing, TAKE) == kept, "what it returned then is what the order was made with"


def test_all_that_is_lost_of_a_transaction_runs_again(
    shop: EagerShop, command: Command, teapot: int, order: int, done: TransactionRecord
) -> None:
    forget_cancelling(shop, done, order)
    forget_restocking(shop, done, teapot, 4)
    said = command("users", "redo", str(done.id))
    assert (said.code, len(said.lines)) == (0, 2)
    assert (shop.status_of_order(order), shop.stock_of(teapot)) == ("cancelled", 10)


def test_a_redo_whose_answer_was_lost_is_asked_for_again_and_does_nothing_more(
    shop: EagerShop, command: Command, teapot: int, done: TransactionRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget_restocking(shop, done, teapot, 4)
    assert command("users", "verify").code == 3
    with monkeypatch.context() as patch:
        patch.setattr(losses, "close", _dies)
        with pytest.raises(KeyboardInterrupt):
            command("users", "redo", str(done.id))
    assert shop.stock_of(teapot) == 10
    assert len(open_losses(shop, "users")) == 1
    task = shop.celery.tasks[INSTALLATION.task("products", "redo")]
    how = {"gid": str(gid_of(done, RESTOCK)), "members": values_of(shop, done), "age": 1.0, "sure": False}
    assert task.apply(kwargs={**how, "database": None}).result["members"] == []
    assert shop.stock_of(teapot) == 10
    assert command("users", "verify").code == 0, "which closes it"
    assert open_losses(shop, "users") == []


def _dies(*_: object) -> None:
    raise KeyboardInterrupt


def test_it_waits_in_the_queue_of_branches_because_it_may_wait_for_locks(
    shop: EagerShop, command: Command, teapot: int, done: TransactionRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent, send = [], Messages._send
    monkeypatch.setattr(Messages, "_send", lambda *given: sent.append(given[1]) or send(*given))
    forget_restocking(shop, done, teapot, 4)
    assert command("users", "redo", str(done.id)).code == 0
    queues = {question["task"].removeprefix(f"{INSTALLATION}."): question.options["queue"] for question in sent}
    assert queues == {
        "orders.have_done": INSTALLATION.outcome_queue("orders"),
        "products.have_done": INSTALLATION.outcome_queue("products"),
        "products.redo": INSTALLATION.branch_queue("products"),
    }


def test_its_row_is_as_old_as_the_attempt(
    shop: EagerShop, command: Command, teapot: int, done: TransactionRecord
) -> None:
    forget_restocking(shop, done, teapot, 4)
    shop.query("users", "UPDATE transaction_branches SET dispatched_at = dispatched_at - interval '6 days'")
    assert command("users", "redo", str(done.id)).code == 0
    [(age,)] = shop.query(
        "products",
        "SELECT extract(epoch FROM now() - created_at) / 86400 FROM branch_rows WHERE branch = :b",
        b=RESTOCK,
    )
    assert 6 <= age < 6.1, "else it would outlive what proves it in the journal, and be taken for a loss of that"


def test_what_is_too_old_to_be_known_is_not_run_again(
    shop: EagerShop, command: Command, teapot: int, done: TransactionRecord
) -> None:
    shop.query("users", "UPDATE transaction_branches SET dispatched_at = dispatched_at - interval '31 days'")
    shop.query("products", "UPDATE branch_rows SET created_at = created_at - interval '31 days'")
    while remove_old(shop.engines["products"], LIMITS):
        pass
    assert command("users", "redo", str(done.id)).code == 2
    assert shop.stock_of(teapot) == 10


# ---- it is refused


@pytest.mark.leaves("unbalanced")
def test_a_branch_that_refuses_changes_nothing_and_its_words_are_told(
    shop: EagerShop, command: Command, user: int
) -> None:
    cup = shop.add_product("cup", stock=5, capacity=10)
    shop.place_order(user, {cup: 5})
    removal = removed(shop, user)
    forget_branch(shop, removal, RESTOCK)
    shop.query("products", "UPDATE products SET stock = 8 WHERE id = :id", id=cup)
    before = shop.everything()
    said = command("users", "redo", str(removal.id))
    assert said.code == 5
    assert f"{RESTOCK} of attempt 1: products has refused, nothing has changed there: no_room: " in said.err
    assert [row for table, row in shop.everything().items() if table != "users.losses"] == [
        row for table, row in before.items() if table != "users.losses"
    ]
    assert open_losses(shop, "users") == [(removal.id, RESTOCK, "branch", "products")]


def test_a_row_that_somebody_holds_is_a_refusal_for_now(
    shop: EagerShop, command: Command, teapot: int, done: TransactionRecord
) -> None:
    forget_restocking(shop, done, teapot, 4)
    with shop.locked("products", "SELECT FROM products FOR UPDATE"):
        said = command("users", "redo", str(done.id))
    assert said.code == 5
    assert shop.stock_of(teapot) == 6
    assert command("users", "redo", str(done.id)).code == 0


@pytest.mark.leaves("unbalanced")
def test_what_was_rolled_back_there_is_a_persons(shop: EagerShop, command: Command, done: TransactionRecord) -> None:
    shop.query("products", "UPDATE branch_rows SET kind = 'tombstone' WHERE branch = :branch", branch=RESTOCK)
    before = shop.rows()
    for words, code in (((), 2), (("--yes",), 5)):
        assert command("users", "redo", str(done.id), *words).code == code
    assert shop.rows() == before
    assert "was rolled back here, and yet it was committed" in command("users", "redo", str(done.id), "--yes").err
    assert "products has rolled it back" in command("users", "verify").out


def test_a_branch_that_hides_an_error_of_the_database_has_not_run(
    shop: EagerShop, command: Command, teapot: int, done: TransactionRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    declared = shop.atomic("products")._branches.declared

    def careless(session: Session, **_: Any) -> None:
        with pytest.raises(Exception, match="division by zero"):
            session.execute(text("SELECT 1 / 0"))

    forget_restocking(shop, done, teapot, 4)
    with monkeypatch.context() as patch:
        patch.setitem(declared, RESTOCK, replace(declared[RESTOCK], function=careless, locks=None))
        assert command("users", "redo", str(done.id)).code == 5
    assert members_of(shop, done, RESTOCK) is None
    assert command("users", "redo", str(done.id)).code == 0


def test_two_at_once_run_it_once(shop: EagerShop, teapot: int, done: TransactionRecord) -> None:
    forget_restocking(shop, done, teapot, 4)
    gid, members = gid_of(done, RESTOCK), values_of(shop, done)
    run_again = shop.atomic("products").run_again
    inside: list[Exception] = []

    def meanwhile(*given: Any) -> Any:
        with pytest.raises(Conflict, match="is being run again right now"):
            run_again.redo(gid, members, 1.0, sure=False, meant_for=None)
        inside.append(Conflict())
        return ran(*given)

    ran = participant_redo._run
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(participant_redo, "_run", meanwhile)
        assert run_again.redo(gid, members, 1.0, sure=False, meant_for=None) == list(members)
    assert len(inside) == 1
    assert run_again.redo(gid, members, 1.0, sure=False, meant_for=None) == []
    assert shop.stock_of(teapot) == 10


def test_nothing_runs_again_in_another_database_than_is_meant(
    shop: EagerShop, teapot: int, done: TransactionRecord
) -> None:
    forget_restocking(shop, done, teapot, 4)
    run_again, members = shop.atomic("products").run_again, values_of(shop, done)
    with pytest.raises(WrongDatabase):
        run_again.redo(gid_of(done, RESTOCK), members, 1.0, sure=False, meant_for=str(uuid4()))
    assert shop.stock_of(teapot) == 6
    run_again.redo(gid_of(done, RESTOCK), members, 1.0, sure=False, meant_for=shop.database_of(gid_of(done, RESTOCK)))


# ---- a person has to look


def test_what_is_not_declared_as_safe_is_shown_and_runs_when_a_person_says_yes(
    shop: EagerShop,
    command: Command,
    user: int,
    teapot: int,
    order: int,
    done: TransactionRecord,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    undeclared(shop, monkeypatch, RESTOCK)
    forget_restocking(shop, done, teapot, 4)
    forget_cancelling(shop, done, order)
    assert f"look whether it is still right, then redo {done.id} --yes" in command("users", "verify").out
    before = shop.rows()
    said = command("users", "redo", str(done.id))
    assert said.code == 2
    assert said.lines[0] == f"{RESTOCK} is not declared as safe to redo. It would run at products, for"
    assert said.lines[1].startswith(f'  {done.id}  {{"user_id": {user}')
    assert said.err == "nothing done: look whether that is still right, then say --yes\n"
    assert shop.rows() == before, "nor has what is safe run"
    assert command("users", "redo", str(done.id), "--yes").code == 0
    assert shop.stock_of(teapot) == 10


def test_the_participant_itself_runs_nothing_unsafe_unless_a_person_has_said_yes(
    shop: EagerShop, teapot: int, done: TransactionRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    undeclared(shop, monkeypatch, RESTOCK)
    forget_restocking(shop, done, teapot, 4)
    run_again, members = shop.atomic("products").run_again, values_of(shop, done)
    with pytest.raises(Refused, match="not_safe_to_redo"):
        run_again.redo(gid_of(done, RESTOCK), members, 1.0, sure=False, meant_for=None)
    run_again.redo(gid_of(done, RESTOCK), members, 1.0, sure=True, meant_for=None)
    with pytest.raises(Refused, match="unknown_branch"):
        run_again.redo(replace(gid_of(done, RESTOCK), branch="products.dust"), members, 1.0, sure=True, meant_for=None)


@pytest.mark.leaves("unbalanced")
def test_a_person_closes_what_was_dealt_with_otherwise(
    shop: EagerShop, command: Command, done: TransactionRecord
) -> None:
    forget_branch(shop, done, RESTOCK)
    forget_transaction(shop, "users", removed(shop, shop.add_user("Grace")))
    assert command("users", "redo", str(done.id), "--close", "counted").code == 2, "nobody has found it yet"
    command("users", "verify")
    command("orders", "verify")
    said = command("users", "redo", str(done.id), "--close", "counted the shelf")
    assert (said.code, said.out) == (0, f"closed: {RESTOCK} of attempt 1, for {done.id}: counted the shelf\n")
    assert shop.query("users", "SELECT closed_because FROM losses") == [("counted the shelf",)]
    [(elsewhere, *_)] = open_losses(shop, "orders")
    assert command("orders", "redo", str(elsewhere), "--close", "asked Grace").code == 0
    assert command("users", "redo", str(done.id)).code == 2, "it is closed"
    for why in ("", "  ", "two\nlines", "x" * 201):
        assert command("users", "redo", str(done.id), "--close", why).code == 2


# ---- nothing to do


@pytest.mark.leaves("unbalanced")
def test_what_is_not_lost_is_not_run_again(
    shop: EagerShop, command: Command, teapot: int, user: int, done: TransactionRecord
) -> None:
    before = shop.everything()
    refused = shop.ask_to_place_order(shop.add_user("Grace"), {teapot: 99}).expect(409).json["transaction"]
    for service, id, words in (
        ("users", done.id, f"nothing of {done.id} is lost"),
        ("users", uuid4(), "this service coordinates no transaction "),
        ("orders", done.id, "this service coordinates no transaction "),
        ("orders", refused["id"] if isinstance(refused, dict) else refused, "is lost, or a person has closed it"),
    ):
        said = command(service, "redo", str(id), "--yes")
        assert (said.code, said.out) == (2, "")
        assert words in said.err
    assert shop.everything()["products.products"] == before["products.products"]
    assert command("users", "redo", "everything").code == 2
    assert command("users", "redo", str(done.id), "--yes", "--close", "both").code == 2


def test_where_a_participant_does_not_answer_nothing_is_run(
    shop: EagerShop, command: Command, teapot: int, order: int, done: TransactionRecord
) -> None:
    forget_cancelling(shop, done, order)
    with deaf("products"):
        said = command("users", "redo", str(done.id))
    assert (said.code, said.out) == (4, "")
    assert said.err == "nothing done: products: did not answer within 0.01 s\n"
    assert shop.status_of_order(order) == "open"
    command("users", "redo", str(done.id))


@pytest.mark.parametrize("trouble", ["the answer is lost", "nobody knows"])
def test_where_it_is_not_known_whether_it_was_done_that_is_said(
    shop: EagerShop,
    command: Command,
    teapot: int,
    done: TransactionRecord,
    trouble: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    forget_restocking(shop, done, teapot, 4)
    send = Messages._send

    def loses(messages: Messages, question: Any) -> bool:
        return question["task"].endswith(".redo") or send(messages, question)

    with monkeypatch.context() as patch:
        if trouble == "nobody knows":
            patch.setattr(shop.atomic("products").run_again, "redo", _broken)
        else:
            patch.setattr(Messages, "_send", loses)
            patch.setattr("atomic_commit.verify.redo.WITHIN", 0.01)
        said = command("users", "redo", str(done.id))
    assert said.code == 4
    assert "it may be done: ask again" in said.err
    assert command("users", "redo", str(done.id)).code == 0


def _broken(*_: Any, **__: Any) -> None:
    raise Lost("the connection is gone")


# ---- who was quarantined because of it


def test_one_that_was_quarantined_because_of_it_is_released_and_settles(
    shop: EagerShop, command: Command, user: int, order: int, teapot: int
) -> None:
    removal = shop.begin("users", "remove_user", user_id=user)
    handed_on = shop.prepare_all(removal)
    shop.query_outside("orders", f"ROLLBACK PREPARED '{gid_of(removal, CANCEL)}'")
    shop.atomic("users").coordinator.decide(removal.id, 1, handed_on)
    assert shop.record("users", removal.id).quarantined
    said = command("users", "redo", str(removal.id))
    assert said.code == 0
    assert said.lines[-1] == f"{removal.id} was quarantined, and is released"
    shop.recover()
    assert shop.record("users", removal.id).settled_at
    assert shop.status_of_order(order) == "cancelled"


# ---- shared attempts


def test_for_all_who_have_lost_it_it_runs_in_one_local_transaction(
    shop: EagerShop, command: Command, teapot: int
) -> None:
    users = [shop.add_user(f"User{number}") for number in range(3)]
    ordered = [shop.place_order(user, {teapot: 1}) for user in users]
    begun = removed_together(shop, users)
    forget_cancelling(shop, begun[0], *ordered)
    follower = next(record for record in begun if record.leader)
    assert command("users", "redo", str(follower.id)).code == 0
    assert {shop.status_of_order(order) for order in ordered} == {"cancelled"}
    kept = members_of(shop, begun[0], CANCEL)
    assert kept is not None
    assert kept.keys() == {str(record.id) for record in begun}


def test_it_runs_for_those_whom_the_branch_row_does_not_name(shop: EagerShop, command: Command, teapot: int) -> None:
    users = [shop.add_user(f"User{number}") for number in range(3)]
    ordered = [shop.place_order(user, {teapot: 1}) for user in users]
    begun = removed_together(shop, users)
    shop.query(
        "products", "UPDATE branch_rows SET members = members - :one WHERE branch = :b", one=str(begun[1].id), b=RESTOCK
    )
    shop.query("products", "UPDATE products SET stock = stock - 1")
    said = command("users", "redo", str(begun[0].led_by[0]))
    assert said.lines == [f"{RESTOCK} of attempt 1 was run again at products for {begun[1].id}"]
    assert shop.stock_of(teapot) == 10
    assert len(members_of(shop, begun[0], RESTOCK) or ()) == len(ordered)


def test_who_led_and_was_left_out_names_those_who_went_on(
    shop: EagerShop, command: Command, user: int, teapot: int
) -> None:
    """The attempt has the name of its leader, and that is what verify shows."""
    begun = all_placed(shop, (user, {teapot: 11}), (user, {teapot: 2}))
    shop.dispatch("orders", "place_order")
    leader, follower = (shop.record("orders", record.id) for record in begun)
    assert (str(leader.state), follower.led_by) == ("aborted", (leader.id, 1))
    forget_branch(shop, follower, TAKE)
    shop.query("products", "UPDATE products SET stock = stock + 2")
    said = command("orders", "redo", str(leader.id))
    assert said.lines == [f"{TAKE} of attempt 1 was run again at products for {follower.id}"]
    assert shop.stock_of(teapot) == 8


@pytest.mark.leaves("unbalanced")
def test_of_several_one_refusal_changes_nothing_for_any(shop: EagerShop, command: Command) -> None:
    cup = shop.add_product("cup", stock=6, capacity=6)
    users = [shop.add_user(f"User{number}") for number in range(3)]
    for user in users:
        shop.place_order(user, {cup: 2})
    begun = removed_together(shop, users)
    forget_branch(shop, begun[0], RESTOCK)
    shop.query("products", "UPDATE products SET stock = 2")
    assert command("users", "redo", str(begun[0].id)).code == 5
    assert shop.stock_of(cup) == 2
    assert members_of(shop, begun[0], RESTOCK) is None


# ---- holds


def test_a_commit_of_a_hold_that_is_forgotten_is_done_and_no_late_prepare_holds_anything(
    shop: EagerShop, user: int, teapot: int
) -> None:
    placing = shop.begin("orders", "place_order", user_id=user, lines=[{"product_id": teapot, "quantity": 1}])
    handed_on = shop.prepare_all(placing)
    hold = gid_of(placing, HOLD)
    shop.query_outside("users", f"ROLLBACK PREPARED '{hold}'")
    shop.atomic("orders").coordinator.decide(placing.id, 1, handed_on)
    assert shop.record("orders", placing.id).settled_at, "nobody has to look"
    stands_in = [("done", "orders.place_order", {})]
    assert shop.query("users", "SELECT kind, coordinated_by, members FROM branch_rows") == stands_in
    assert shop.participant_of(hold).commit(hold) is Answer.COMMITTED
    with pytest.raises(Exception, match="is over in this database: done"):
        shop.prepare(hold, shop.handed_on(placing))
    assert shop.participant_of(hold).rollback(hold) is Answer.IMPOSSIBLE


@pytest.mark.leaves("prepared", "unsettled", "undecided")
def test_a_hold_that_is_just_being_prepared_is_not_forgotten(
    shop: EagerShop, user: int, teapot: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    placing = shop.begin("orders", "place_order", user_id=user, lines=[{"product_id": teapot, "quantity": 1}])
    hold = gid_of(placing, HOLD)
    participant = shop.participant_of(hold)
    row = participant._branch_row

    def prepared_meanwhile(gid: Gid) -> Any:
        found = row(gid)
        shop.prepare(gid, shop.handed_on(placing))
        return found

    monkeypatch.setattr(participant, "_branch_row", prepared_meanwhile)
    with pytest.raises(Conflict, match="is being prepared"):
        participant.commit(hold)
    monkeypatch.undo()
    assert participant.commit(hold) is Answer.COMMITTED
    assert shop.query("users", "SELECT members IS NOT NULL FROM branch_rows") == [(True,)]
