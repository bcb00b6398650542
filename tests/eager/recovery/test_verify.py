"""What a database has forgotten for good is named, by whoever still has the other side of it; and nothing else is."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

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
    forget_transaction,
    lost_of,
    members_of,
    open_losses,
    placed,
    removed,
    removed_together,
)
from eager_shop import LIMITS, EagerShop

from atomic_commit import TransactionRecord
from atomic_commit.journal.retention import remove_old
from atomic_commit.verify import background, peers, verification
from atomic_commit.wire.messages import Messages
from celery_config.manifest import SERVICES

pytestmark = [
    pytest.mark.loud,
    pytest.mark.leaves("unbalanced", "unsettled"),
    pytest.mark.usefixtures("at_once"),
]
DAY = 86400.0


def critical(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.CRITICAL]


def moved_back(shop: EagerShop, service: str, table: str, *columns: str, seconds: float) -> None:
    """What stands there is so much longer ago."""
    moved = ", ".join(f"{column} = {column} - make_interval(secs => :by)" for column in columns)
    shop.query(service, f"UPDATE {table} SET {moved}", by=seconds)


# ---- who names what


def test_where_nobody_has_forgotten_anything_nothing_is_named(
    shop: EagerShop, command: Command, user: int, teapot: int, done: TransactionRecord
) -> None:
    shop.cancel(shop.place_order(shop.add_user("Grace"), {teapot: 1})).expect(200)
    shop.ask_to_place_order(shop.add_user("Edsger"), {teapot: 99}).expect(409)
    for service, compared in (("users", (2, 0)), ("orders", (5, 1)), ("products", (0, 4))):
        said = json.loads(command(service, "verify", "--json").out)
        assert said["losses"] == []
        assert (said["compared"]["branches"], said["compared"]["transactions"]) == compared, service
        assert command(service, "verify").code == 0
        assert open_losses(shop, service) == []


def test_a_branch_that_its_participant_has_forgotten_is_named_by_the_coordinator(
    shop: EagerShop, user: int, order: int, done: TransactionRecord, caplog: pytest.LogCaptureFixture
) -> None:
    forget_cancelling(shop, done, order)
    [loss], verified = lost_of(shop, "users")
    assert loss.key == (done.id, 1, CANCEL, "branch")
    assert (loss.service, loss.kind, loss.found) == ("orders", "users.remove_user", "nothing")
    assert loss.values[str(done.id)]["user_id"] == user
    assert loss.values[str(done.id)]["quantities"], "what a later branch needs is in the journal too"
    assert (verified.lost, verified.new, verified.asked) == (1, 1, dict.fromkeys(("orders", "products"), "answered"))
    assert open_losses(shop, "users") == [(done.id, CANCEL, "branch", "orders")]
    assert len(critical(caplog)) == 1
    assert str(done.id) in critical(caplog)[0]
    for service in ("orders", "products"):
        assert lost_of(shop, service)[0] == [], "who has forgotten knows of nothing, and the others have it all"


def test_a_transaction_that_its_coordinator_has_forgotten_is_named_by_each_participant(
    shop: EagerShop, user: int, order: int, done: TransactionRecord
) -> None:
    forget_transaction(shop, "users", done)
    for service, branch, value in (("orders", CANCEL, "user_id"), ("products", RESTOCK, "quantities")):
        [loss], _ = lost_of(shop, service)
        assert loss.key == (done.id, 1, branch, "transaction")
        assert (loss.service, loss.kind) == ("users", "users.remove_user")
        assert value in loss.values[str(done.id)], "what only this side knows any more"
        assert open_losses(shop, service) == [(done.id, branch, "transaction", "users")]
    assert lost_of(shop, "users")[0] == []


def test_what_is_found_again_is_the_same_loss_and_is_said_once(
    shop: EagerShop, done: TransactionRecord, caplog: pytest.LogCaptureFixture
) -> None:
    forget_branch(shop, done, CANCEL)
    [first], _ = lost_of(shop, "users")
    [again], verified = lost_of(shop, "users")
    assert again.found_at == first.found_at
    assert (verified.lost, verified.new) == (1, 0)
    assert len(critical(caplog)) == 1


def test_nothing_is_lost_of_a_hold_that_is_granted_still_and_a_row_stands_for_it_again(
    shop: EagerShop, user: int, teapot: int
) -> None:
    placing = placed(shop, user, {teapot: 1})
    forget_branch(shop, placing, HOLD)
    found, verified = lost_of(shop, "orders")
    assert (found, verified.harmless) == ([], 1)
    assert members_of(shop, placing, HOLD) == {str(placing.id): {"user_id": user}}
    found, verified = lost_of(shop, "orders")
    assert (found, verified.harmless) == ([], 0)


def test_a_hold_that_would_be_refused_now_is_lost_until_it_is_granted_or_a_person_has_seen_to_it(
    shop: EagerShop, user: int, teapot: int, command: Command
) -> None:
    placing = placed(shop, user, {teapot: 1})
    forget_branch(shop, placing, HOLD)
    shop.query("users", "UPDATE users SET status = 'removing', removed_by = gen_random_uuid() WHERE id = :id", id=user)
    for new in (1, 0):
        [loss], verified = lost_of(shop, "orders")
        assert (loss.key, loss.found) == (
            (placing.id, 1, HOLD, "branch"),
            f"user_is_being_removed: User {user} is being removed.",
        )
        assert (verified.harmless, verified.lost, verified.new, verified.found_again) == (0, 1, new, 0)
    said = command("orders", "verify")
    assert "would be refused now (user_is_being_removed" in said.out
    assert command("orders", "redo", str(placing.id)).code == 5, "it is refused in words"
    shop.query("users", "UPDATE users SET status = 'active', removed_by = NULL WHERE id = :id", id=user)
    found, verified = lost_of(shop, "orders")
    assert (found, verified.found_again) == ([], 1)


def test_a_hold_that_was_fenced_is_lost_and_keeps_nothing_else_from_being_compared(
    shop: EagerShop, user: int, teapot: int
) -> None:
    fenced, other = placed(shop, user, {teapot: 1}), placed(shop, user, {teapot: 1})
    shop.query("users", "UPDATE branch_rows SET kind = 'tombstone' WHERE transaction_id = :id", id=fenced.id)
    forget_branch(shop, other, HOLD)
    [loss], verified = lost_of(shop, "orders")
    assert loss.key == (fenced.id, 1, HOLD, "branch")
    assert "was rolled back here" in loss.found
    assert (verified.harmless, verified.silent) == (1, {})


def test_a_hold_in_whose_way_somebody_is_is_left_for_the_next_time(shop: EagerShop, user: int, teapot: int) -> None:
    placing = placed(shop, user, {teapot: 1})
    forget_branch(shop, placing, HOLD)
    with shop.locked("users", "SELECT FROM users FOR UPDATE"):
        found, verified = lost_of(shop, "orders")
    assert (found, verified.harmless, verified.silent) == ([], 0, {})
    assert members_of(shop, placing, HOLD) is None
    assert lost_of(shop, "orders")[1].harmless == 1


def test_a_row_that_stands_in_for_a_hold_is_no_proof_that_it_would_be_granted(
    shop: EagerShop, user: int, teapot: int
) -> None:
    placing = placed(shop, user, {teapot: 1})
    shop.query("users", "UPDATE branch_rows SET members = '{}' WHERE branch = :b", b=HOLD)
    shop.query("users", "DELETE FROM users WHERE id = :id", id=user)
    [loss], _ = lost_of(shop, "orders")
    assert loss.branch == HOLD
    assert members_of(shop, placing, HOLD) == {}


def test_of_several_holds_those_are_lost_that_would_be_refused(shop: EagerShop, user: int, teapot: int) -> None:
    grace = shop.add_user("Grace")
    begun = all_placed(shop, (user, {teapot: 1}), (grace, {teapot: 1}))
    shop.dispatch("orders", "place_order")
    forget_branch(shop, shop.record("orders", begun[0].id), HOLD)
    shop.query("users", "DELETE FROM users WHERE id = :id", id=grace)
    [loss], _ = lost_of(shop, "orders")
    assert loss.values.keys() == {str(begun[1].id)}
    assert loss.values[str(begun[1].id)]["user_id"] == grace


def test_where_a_hold_is_forgotten_and_all_else_too_it_is_undone(shop: EagerShop, user: int, teapot: int) -> None:
    placing = placed(shop, user, {teapot: 1})
    forget_branch(shop, placing, HOLD)
    forget_branch(shop, placing, TAKE)
    forget_transaction(shop, "orders", placing)
    assert [lost_of(shop, service)[0] for service in SERVICES] == [[], [], []], "it is undone as a whole"


def test_where_a_hold_is_left_and_nothing_else_the_transaction_is_undone_and_not_lost(
    shop: EagerShop, user: int, teapot: int
) -> None:
    placing = placed(shop, user, {teapot: 1})
    forget_transaction(shop, "orders", placing)
    assert lost_of(shop, "users")[0] == []
    assert [loss.branch for loss in lost_of(shop, "products")[0]] == [TAKE]


# ---- what stands in its place


def test_a_branch_that_is_fenced_though_it_was_committed_is_lost(shop: EagerShop, done: TransactionRecord) -> None:
    shop.query("orders", "UPDATE branch_rows SET kind = 'tombstone' WHERE branch = :branch", branch=CANCEL)
    [loss], _ = lost_of(shop, "users")
    assert (loss.key, loss.found, loss.safe_to_redo) == ((done.id, 1, CANCEL, "branch"), "a tombstone", False)


def test_a_branch_row_of_others_is_no_proof(shop: EagerShop, done: TransactionRecord) -> None:
    others = json.dumps({str(uuid4()): {}})
    shop.query("orders", "UPDATE branch_rows SET members = :m WHERE branch = :b", m=others, b=CANCEL)
    [loss], _ = lost_of(shop, "users")
    assert (loss.found, list(loss.values)) == ("others", [str(done.id)])


def test_a_branch_row_that_names_nobody_is_a_proof_and_can_not_be_compared(
    shop: EagerShop, done: TransactionRecord
) -> None:
    shop.query("orders", "UPDATE branch_rows SET members = NULL, coordinated_by = NULL")
    assert lost_of(shop, "users")[0] == []
    found, verified = lost_of(shop, "orders")
    assert (found, verified.skipped) == ([], 1)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ("state = 'aborted'", "aborted"),
        ("attempt = 2", "another attempt"),
        ("leader = gen_random_uuid(), leader_attempt = 1", "another attempt"),
    ],
)
def test_a_journal_that_says_something_else_has_forgotten_what_was_done(
    shop: EagerShop, done: TransactionRecord, change: str, found: str
) -> None:
    shop.query("users", f"UPDATE transactions SET {change}")
    [loss], _ = lost_of(shop, "orders")
    assert (loss.lost, loss.found) == ("transaction", found)


def test_a_branch_that_was_not_told_to_commit_was_not_committed(shop: EagerShop, done: TransactionRecord) -> None:
    shop.query("users", "UPDATE transaction_branches SET outcome = 'rollback' WHERE name = :name", name=CANCEL)
    [loss], _ = lost_of(shop, "orders")
    assert loss.key == (done.id, 1, CANCEL, "transaction")


# ---- what is under way


def test_what_is_owed_or_undecided_is_under_way_and_not_lost(shop: EagerShop, user: int, order: int) -> None:
    removal = shop.begin("users", "remove_user", user_id=user)
    handed_on = shop.prepare_all(removal)
    assert [lost_of(shop, service)[0] for service in SERVICES] == [[], [], []], "prepared"
    with shop.post.loses():
        shop.atomic("users").coordinator.decide(removal.id, 1, handed_on)
    for gid in shop.gids(removal):
        shop.participant_of(gid).commit(gid)
    forget_branch(shop, removal, CANCEL)
    assert [lost_of(shop, service)[0] for service in SERVICES] == [[], [], []], "its coordinator has no answer yet"
    shop.query("users", "UPDATE transactions SET state = 'preparing'")
    assert lost_of(shop, "products")[0] == [], "its coordinator may yet learn that it was committed"
    shop.query("users", "UPDATE transactions SET state = 'committed'")


def test_what_stands_prepared_again_asks_by_itself_and_is_not_lost(shop: EagerShop, user: int, order: int) -> None:
    removal = shop.begin("users", "remove_user", user_id=user)
    handed_on = shop.prepare_all(removal)
    with shop.post.loses():
        shop.atomic("users").coordinator.decide(removal.id, 1, handed_on)
    shop.query("users", "UPDATE transaction_branches SET settled_at = now()")
    shop.query("users", "UPDATE transactions SET settled_at = now(), next_look_at = NULL")
    assert lost_of(shop, "users")[0] == []
    for gid in shop.gids(removal):
        shop.participant_of(gid).commit(gid)


def test_of_one_that_was_quarantined_because_of_it_the_branch_is_lost(shop: EagerShop, user: int, order: int) -> None:
    removal = shop.begin("users", "remove_user", user_id=user)
    handed_on = shop.prepare_all(removal)
    shop.query_outside("orders", f"ROLLBACK PREPARED '{shop.gids(removal)[0]}'")
    shop.atomic("users").coordinator.decide(removal.id, 1, handed_on)
    assert shop.record("users", removal.id).quarantined
    assert [loss.branch for loss in lost_of(shop, "users")[0]] == [CANCEL]
    assert lost_of(shop, "products")[0] == []


def test_what_seems_lost_is_asked_about_once_more(
    shop: EagerShop, done: TransactionRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget_branch(shop, done, CANCEL)
    asked = []
    call = Messages.call

    def there_after_all(messages: Messages, service: str, verb: str, arguments: Any, **how: Any) -> Any:
        asked.append(service)
        said = call(messages, service, verb, arguments, **how)
        return said if asked.count("orders") < 2 else {**said, "absent": {}}

    monkeypatch.setattr(Messages, "call", there_after_all)
    assert lost_of(shop, "users")[0] == []
    assert asked == ["orders", "products", "orders"]
    assert open_losses(shop, "users") == []


def test_what_is_young_is_asked_about_again_when_it_is_older(
    shop: EagerShop, done: TransactionRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget_branch(shop, done, CANCEL)
    forget_transaction(shop, "users", removed(shop, shop.add_user("Grace")))
    waits = []
    monkeypatch.setattr(verification, "YOUNG", 3600.0)
    monkeypatch.setattr(verification.time, "sleep", waits.append)
    assert len(lost_of(shop, "users")[0]) == 1
    assert len(lost_of(shop, "products")[0]) == 1
    assert [3500 < wait <= 3600 for wait in waits] == [True, True]
    moved_back(shop, "users", "transactions", "settled_at", seconds=3700)
    waits.clear()
    lost_of(shop, "users")
    assert waits == [0.0]


# ---- shared attempts


def test_of_a_shared_attempt_all_who_committed_have_lost_the_branch(shop: EagerShop, teapot: int) -> None:
    users = [shop.add_user(f"User{number}") for number in range(3)]
    begun = removed_together(shop, users)
    assert len({record.led_by for record in begun}) == 1
    forget_branch(shop, begun[0], RESTOCK)
    [loss], _ = lost_of(shop, "users")
    assert loss.key == (*begun[0].led_by, RESTOCK, "branch")
    assert loss.values.keys() == {str(record.id) for record in begun}
    assert {own["user_id"] for own in loss.values.values()} == set(users)


def test_who_was_left_out_of_the_attempt_has_lost_nothing_with_it(shop: EagerShop, user: int, teapot: int) -> None:
    gone = 4711
    begun = all_placed(shop, (user, {teapot: 1}), (gone, {teapot: 1}), (shop.add_user("Grace"), {teapot: 1}))
    shop.dispatch("orders", "place_order")
    ends = [str(shop.record("orders", record.id).state) for record in begun]
    assert ends == ["committed", "aborted", "committed"]
    forget_branch(shop, shop.record("orders", begun[0].id), TAKE)
    [loss], _ = lost_of(shop, "orders")
    assert loss.values.keys() == {str(begun[0].id), str(begun[2].id)}
    assert lost_of(shop, "users")[0] == []


def test_where_the_coordinator_has_forgotten_one_of_several_that_one_is_named(shop: EagerShop, teapot: int) -> None:
    begun = removed_together(shop, [shop.add_user(f"User{number}") for number in range(3)])
    follower = next(record for record in begun if record.leader)
    shop.query("users", "DELETE FROM transactions WHERE id = :id", id=follower.id)
    [loss], _ = lost_of(shop, "orders")
    assert loss.key == (*follower.led_by, CANCEL, "transaction")
    assert loss.values.keys() == {str(follower.id)}


def test_a_long_history_is_read_page_by_page_and_each_branch_of_an_attempt_is_named_once(
    shop: EagerShop, teapot: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verification, "_PAGE", 2)
    monkeypatch.setattr(peers, "_BATCH", 1)
    together = removed_together(shop, [shop.add_user(f"User{number}") for number in range(5)])
    alone = [removed(shop, shop.add_user(f"Lonely{number}")) for number in range(3)]
    shop.query("orders", "DELETE FROM branch_rows")
    shop.query("products", "DELETE FROM branch_rows WHERE transaction_id = :id", id=alone[1].id)
    found, verified = lost_of(shop, "users")
    whole = {str(record.id) for record in together}
    assert [loss.values.keys() for loss in found if loss.transaction == together[0].led_by[0]] == [whole]
    assert sorted((loss.transaction, loss.branch) for loss in found) == sorted(
        [
            (together[0].led_by[0], CANCEL),
            *((record.id, CANCEL) for record in alone),
            (alone[1].id, RESTOCK),
        ]
    )
    assert verified.lost == len(found) == len(open_losses(shop, "users")) == 5
    for record in (*together, *alone):
        shop.query("users", "DELETE FROM transaction_branches WHERE transaction_id = :id", id=record.id)
    shop.query("users", "DELETE FROM transactions")
    found, _ = lost_of(shop, "products")
    assert sorted(loss.transaction for loss in found) == sorted(
        [together[0].led_by[0], *(record.id for record in alone if record != alone[1])]
    )


# ---- who does not answer


def test_who_does_not_answer_is_told_and_so_is_what_was_found_so_far(
    shop: EagerShop, command: Command, done: TransactionRecord
) -> None:
    forget_branch(shop, done, CANCEL)
    forget_branch(shop, done, RESTOCK)
    with deaf("products") as asked:
        said = command("users", "verify", "--json")
    assert said.code == 4
    told = json.loads(said.out)
    assert [loss["branch"] for loss in told["losses"]] == [CANCEL]
    assert told["asked"] == {"orders": "answered", "products": "did not answer within 0.01 s"}
    assert told["compared"]["branches"] == 1
    assert asked.count(("products", "have_done")) == 2, "a message may be lost; twice is enough"
    with deaf("products"):
        said = command("users", "verify")
    assert said.code == 4
    assert "1 lost" in said.lines
    assert "products: did not answer within 0.01 s" in said.lines


def test_who_has_not_answered_is_not_asked_any_more(
    shop: EagerShop, user: int, teapot: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers, "_BATCH", 1)
    for _ in range(3):
        placed(shop, user, {teapot: 1})
    with deaf("products") as asked:
        _, verified = lost_of(shop, "orders")
    assert asked.count(("products", "have_done")) == 2
    assert asked.count(("users", "have_done")) == verified.branches == 3


def test_nothing_is_lost_as_far_as_is_known_where_nobody_answers(
    shop: EagerShop, command: Command, done: TransactionRecord
) -> None:
    forget_branch(shop, done, CANCEL)
    with deaf("orders", "products"):
        said = command("users", "verify")
    assert (said.code, said.lines[0]) == (4, "nothing is lost, as far as is known")


def test_a_broker_that_is_away_answers_nothing(shop: EagerShop, command: Command, done: TransactionRecord) -> None:
    with shop.post.refuses():
        said = command("orders", "verify")
    assert said.code == 4
    assert "users: could not be asked: the broker did not take the question" in said.lines


def test_the_word_of_a_database_that_is_not_the_participants_counts_for_nothing(
    shop: EagerShop, command: Command, done: TransactionRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = Messages.call

    def from_elsewhere(*given: Any, **how: Any) -> Any:
        return {**call(*given, **how), "database": str(uuid4())}

    forget_branch(shop, done, CANCEL)
    monkeypatch.setattr(Messages, "call", from_elsewhere)
    said = command("users", "verify")
    assert said.code == 4
    assert "orders: answers from database " in said.out
    assert open_losses(shop, "users") == []


def test_a_question_that_is_meant_for_another_database_is_not_answered(
    shop: EagerShop, done: TransactionRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = shop.atomic("users").coordinator.databases
    monkeypatch.setattr(known, "of", lambda service: str(uuid4()))
    monkeypatch.setattr(shop.atomic("users").messages, "_database_of", known.of)
    _, verified = lost_of(shop, "users")
    assert verified.silent.keys() == {"orders", "products"}
    assert "meant for another database" in verified.silent["orders"]


# ---- what is not kept any more


def test_what_retention_has_removed_is_not_lost(shop: EagerShop, done: TransactionRecord) -> None:
    for service, table, columns in (
        ("users", "transactions", ("created_at", "settled_at", "decided_at")),
        ("users", "transaction_branches", ("dispatched_at",)),
        ("orders", "branch_rows", ("created_at",)),
        ("products", "branch_rows", ("created_at",)),
    ):
        moved_back(shop, service, table, *columns, seconds=7.1 * DAY)
    while remove_old(shop.engines["users"], LIMITS):
        pass
    assert shop.query("users", "SELECT count(*) FROM transactions") == [(0,)]
    found, verified = lost_of(shop, "orders")
    assert (found, verified.transactions) == ([], 0)


def test_a_branch_row_that_was_removed_before_its_transaction_settled_is_not_lost(
    shop: EagerShop, done: TransactionRecord
) -> None:
    moved_back(shop, "users", "transaction_branches", "dispatched_at", seconds=30.1 * DAY)
    moved_back(shop, "orders", "branch_rows", "created_at", seconds=30.1 * DAY)
    while remove_old(shop.engines["orders"], LIMITS):
        pass
    found, verified = lost_of(shop, "users")
    assert (found, verified.branches) == ([], 0)


def test_since_when_is_told_and_what_is_older_is_not_compared(
    shop: EagerShop, command: Command, done: TransactionRecord
) -> None:
    forget_branch(shop, done, CANCEL)
    forget_transaction(shop, "users", removed(shop, shop.add_user("Grace")))
    moved_back(shop, "users", "transactions", "settled_at", seconds=DAY)
    moved_back(shop, "products", "branch_rows", "created_at", seconds=DAY)
    for service in ("users", "products"):
        for words, code in ((["--since", "3h"], 0), (["--since", "2d"], 3), ([], 3)):
            assert command(service, "verify", *words).code == code, (service, words)
    yesterday = datetime.now(UTC) - timedelta(days=1, minutes=10)
    assert command("users", "verify", "--since", yesterday.isoformat()).code == 3
    assert command("users", "verify", "--since", f"{yesterday:%Y-%m-%d}").code == 3
    assert "committed since " in command("users", "verify", "--since", "90").out
    assert lost_of(shop, "users", since=timedelta(hours=23, minutes=30))[0], "clocks differ: an hour more is compared"


# ---- what is told


def test_losses_are_told_with_what_to_do(shop: EagerShop, command: Command, user: int, done: TransactionRecord) -> None:
    forget_branch(shop, done, CANCEL)
    said = command("users", "verify")
    assert (said.code, said.err) == (3, "")
    heads, row, advice, *summary = said.lines
    assert heads.split() == [
        *("LOST", "TRANSACTION", "ATTEMPT", "KIND", "BRANCH", "FORGOTTEN", "BY", "SINCE", "VALUES"),
    ]
    assert row.split()[:6] == ["branch", str(done.id), "1", "users.remove_user", CANCEL, "orders"]
    assert f'{{"user_id": {user}' in row
    assert advice.strip() == f"redo {done.id}"
    assert summary == [
        "1 lost",
        "compared: 2 branches with participants, 0 transactions with coordinators",
        "orders: answered",
        "products: answered",
    ]
    forget_transaction(shop, "users", done)
    advice = command("products", "verify").lines[2]
    assert advice.strip() == (
        f"a person: undo here what {RESTOCK} has done, or do at users what is forgotten there;"
        f" then redo {done.id} --close WHY"
    )


def test_values_of_many_are_shortened_for_people(shop: EagerShop, command: Command, teapot: int) -> None:
    begun = removed_together(shop, [shop.add_user(f"User{number}") for number in range(4)])
    forget_branch(shop, begun[0], CANCEL)
    row = command("users", "verify").lines[1]
    assert "  4 transactions: {" in row
    assert row.endswith("…")


def test_losses_are_told_to_programs(shop: EagerShop, command: Command, done: TransactionRecord) -> None:
    forget_branch(shop, done, CANCEL)
    forget_branch(shop, done, RESTOCK)
    said = command("users", "verify", "--json")
    assert (said.code, said.err) == (3, "")
    told = json.loads(said.out)
    assert told.keys() == {"losses", "asked", "compared"}
    assert sorted(loss["branch"] for loss in told["losses"]) == [CANCEL, RESTOCK]
    loss = told["losses"][0]
    assert loss.keys() == {
        *("transaction", "kind", "attempt", "branch", "lost", "service", "values", "found_at"),
    }
    assert (loss["transaction"], loss["attempt"], loss["lost"]) == (str(done.id), 1, "branch")
    assert told["compared"] == {"branches": 2, "transactions": 0, "skipped": 0}


def test_progress_is_told_beside_the_result(
    shop: EagerShop, command: Command, done: TransactionRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("atomic_commit.cli.verify._PROGRESS", 0.0)
    said = command("users", "verify")
    assert set(said.err.splitlines()) == {"2 branches and 0 transactions compared, 0 lost"}


@pytest.mark.parametrize(
    "words",
    [["--since", "yesterday"], ["--since", "-1"], ["--since", "1w"], ["--since", "2026-13-01"], ["--since"], ["now"]],
)
def test_a_word_that_is_not_understood_is_told_and_nothing_is_compared(
    shop: EagerShop, command: Command, words: list[str]
) -> None:
    said = command("users", "verify", *words)
    assert (said.code, said.out) == (2, "")
    assert "usage: python -m users_service" in said.err


def test_a_database_that_is_anothers_is_told_in_one_line(
    shop: EagerShop, command: Command, done: TransactionRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shop.atomic("users").identity, "service", "somebody")
    monkeypatch.setattr(shop.atomic("users").identity, "_known", None)
    said = command("users", "verify")
    assert (said.code, said.out) == (1, "")
    assert said.err.startswith("users_service verify: this database belongs to users of ")


# ---- what becomes of a loss


def test_open_losses_are_counted_where_an_operator_looks(
    shop: EagerShop, command: Command, done: TransactionRecord
) -> None:
    forget_branch(shop, done, CANCEL)
    forget_branch(shop, done, RESTOCK)
    lost_of(shop, "users")
    assert command("users", "transactions").lines[0].endswith("0 quarantined, 2 LOST (verify tells what)")
    command("users", "redo", str(done.id), "--close", "told the customers")
    assert command("users", "transactions").lines[0].endswith("0 quarantined")


def test_what_is_there_again_is_closed(shop: EagerShop, command: Command, done: TransactionRecord) -> None:
    kept = shop.query("orders", "SELECT members::text FROM branch_rows WHERE branch = :b", b=CANCEL)[0][0]
    forget_branch(shop, done, CANCEL)
    assert command("users", "verify").code == 3
    shop.query(
        "orders",
        "INSERT INTO branch_rows VALUES (:id, 1, :branch, 'done', now(), 'users.remove_user', CAST(:members AS jsonb))",
        id=done.id,
        branch=CANCEL,
        members=kept,
    )
    said = command("users", "verify")
    assert (said.code, said.lines[0]) == (0, "nothing is lost")
    assert "1 known losses are there again and closed" in said.lines
    assert shop.query("users", "SELECT closed_because FROM losses") == [("found again",)]
    forget_branch(shop, done, CANCEL)
    assert command("users", "verify").code == 3, "it is lost once more"


def test_what_a_person_has_closed_is_not_named_again_unless_more_is_lost_of_it(
    shop: EagerShop, command: Command, teapot: int
) -> None:
    begun = removed_together(shop, [shop.add_user(f"User{number}") for number in range(2)])
    leader, follower = sorted(begun, key=lambda record: record.leader is not None)
    shop.query("users", "DELETE FROM transactions WHERE id = :id", id=follower.id)
    assert command("products", "verify").code == 3
    assert command("products", "redo", str(follower.id), "--close", "we know").code == 0
    assert command("products", "verify").code == 0
    assert open_losses(shop, "products") == []
    forget_transaction(shop, "users", leader)
    [loss], _ = lost_of(shop, "products")
    assert loss.values.keys() == {str(leader.id), str(follower.id)}


def test_closed_losses_go_with_the_transactions_of_their_time_and_open_ones_stay(
    shop: EagerShop, done: TransactionRecord
) -> None:
    forget_branch(shop, done, CANCEL)
    forget_branch(shop, done, RESTOCK)
    lost_of(shop, "users")
    shop.query("users", "UPDATE losses SET closed_at = now(), closed_because = 'we know' WHERE branch = :b", b=CANCEL)
    moved_back(shop, "users", "losses", "found_at", "closed_at", seconds=6.9 * DAY)
    assert remove_old(shop.engines["users"], LIMITS) == 0
    moved_back(shop, "users", "losses", "found_at", "closed_at", seconds=0.2 * DAY)
    assert remove_old(shop.engines["users"], LIMITS) == 1
    assert [branch for _, branch, *_ in open_losses(shop, "users")] == [RESTOCK]


# ---- a service says that its database has come back older


def test_when_a_database_has_come_back_older_all_others_verify_against_it(
    shop: EagerShop, user: int, order: int, done: TransactionRecord, caplog: pytest.LogCaptureFixture
) -> None:
    elsewhere = removed(shop, shop.add_user("Grace"))
    forget_branch(shop, elsewhere, RESTOCK)
    forget_cancelling(shop, done, order)
    placing = shop.query("orders", "SELECT id FROM transactions WHERE kind = 'place_order'")[0][0]
    forget_transaction(shop, "orders", shop.record("orders", placing))
    with deaf() as asked:
        shop.atomic("orders").came_back_older(datetime.now(UTC) - timedelta(minutes=1))
        assert all(shop.atomic(service).in_background.join(20) for service in SERVICES)
    assert {service for service, _ in asked} == {"orders"}, "nobody else has forgotten"
    assert open_losses(shop, "users") == [(done.id, CANCEL, "branch", "orders")]
    assert open_losses(shop, "products") == [(placing, TAKE, "transaction", "orders")]
    assert open_losses(shop, "orders") == []
    assert any("verified against orders since " in message and "1 lost" in message for message in caplog.messages)


def test_who_does_not_answer_is_asked_again_and_then_left_to_a_person(
    shop: EagerShop, done: TransactionRecord, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(background, "_PAUSES", (0.0, 0.0))
    with deaf("orders") as asked:
        shop.atomic("users").in_background.against("orders", datetime.now(UTC))
        assert shop.atomic("users").in_background.join(20)
    assert asked.count(("orders", "have_done")) == 3 * 2
    assert "orders may have forgotten something, and could not be asked: type verify" in critical(caplog)[0]


def test_a_moment_that_is_none_is_another_releases(shop: EagerShop) -> None:
    from tests.installation import INSTALLATION

    task = shop.celery.tasks[INSTALLATION.task("users", "came_back_older")]
    said = task.apply(kwargs={"service": "orders", "since": "long ago"})
    assert "another release" in str(said.result)
    assert UUID(int=0) not in shop.atomic("users").in_background._wanted


def test_a_moment_without_a_zone_is_this_machine_s(
    shop: EagerShop, done: TransactionRecord, caplog: pytest.LogCaptureFixture
) -> None:
    from tests.installation import INSTALLATION

    task = shop.celery.tasks[INSTALLATION.task("users", "came_back_older")]
    a_minute_ago = datetime.now().replace(microsecond=0) - timedelta(minutes=1)
    assert task.apply(kwargs={"service": "orders", "since": a_minute_ago.isoformat()}).successful()
    assert shop.atomic("users").in_background.join(20)
    assert "verified against orders since " in caplog.text
