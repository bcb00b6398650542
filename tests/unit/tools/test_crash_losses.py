"""The judge of failovers, on made-up rows: what was lost, what was undone as a whole, and what must not be."""

from __future__ import annotations

import json
from subprocess import CompletedProcess
from typing import Any

import pytest

from tests.crash.failover_plan import LEAST_LAG, MOST_LAG, plans
from tests.crash.losses import Findings, Loss, given_twice, judge, not_lost, story, unnamed, unnamed_holds
from tests.crash.verify import Said, read

ADA, BOB = "aaaaaaaa-0000-0000-0000-000000000000", "bbbbbbbb-0000-0000-0000-000000000000"
CANCEL, RESTOCK = "orders.cancel_user_orders", "products.restock"
LOST_CANCEL = Loss(ADA, "remove_user", 1, CANCEL, "branch", "orders")
LOST_ROW = Loss(ADA, "remove_user", 1, f"{CANCEL}, {RESTOCK}", "transaction", "users")


def transaction(id: str = ADA, state: str = "committed", **other: Any) -> dict[str, Any]:
    row = {"id": id, "kind": "remove_user", "state": state, "attempt": 1, "values": {"user_id": 7}, "result": None}
    return {**row, "leader": None, "leader_attempt": None, "quarantined_at": None, **other}


def told(branch: str, id: str = ADA, attempt: int = 1) -> dict[str, Any]:
    answer = {"vote": "yes", "outcome": "commit", "settled_at": "now"}
    return {"transaction_id": id, "attempt": attempt, "name": branch, **answer}


def row(branch: str, kind: str = "done", id: str = ADA, attempt: int = 1) -> dict[str, Any]:
    return {"transaction_id": id, "attempt": attempt, "branch": branch, "kind": kind}


def tables(*rows: dict[str, Any], **business: list[dict[str, Any]]) -> dict[str, Any]:
    """The rows, each in the table that it belongs to by its columns."""
    return {
        "transactions": [one for one in rows if "state" in one],
        "transaction_branches": [one for one in rows if "vote" in one],
        "branch_rows": [one for one in rows if "branch" in one],
        "users": [],
        "orders": [],
        **business,
    }


#: A removal as it is when nothing was forgotten.
USERS = (transaction(), told(CANCEL), told(RESTOCK))
ORDERS = (row(CANCEL),)
PRODUCTS = (row(RESTOCK),)
YES = {"operation": "remove", "status": 200, "transaction": ADA, "user": 7, "reason": None}


def judged(
    users: Any = USERS, orders: Any = ORDERS, products: Any = PRODUCTS, *, dead: Any = (), history: Any = ()
) -> Findings:
    books = {"users": users, "orders": orders, "products": products}
    return judge(
        {service: its if isinstance(its, dict) else tables(*its) for service, its in books.items()},
        [(service, tables(*rows)) for service, rows in dead],
        history,
    )


def test_where_nothing_was_forgotten_nothing_is_found() -> None:
    assert judged(dead=[("users", USERS)], history=[YES]) == Findings()


def test_a_committed_branch_without_its_row_is_lost_by_its_service() -> None:
    assert judged(orders=()) == Findings(losses=[LOST_CANCEL])


def test_of_a_shared_attempt_everybody_who_committed_has_lost_the_branch() -> None:
    follows = {"leader": ADA, "leader_attempt": 1}
    users = (*USERS, transaction(BOB, **follows), transaction("cccc", "aborted", **follows))
    assert [loss.transaction for loss in judged(users, orders=()).losses] == [ADA, BOB]


def test_a_row_of_the_journal_that_is_gone_is_lost_where_a_branch_is_done() -> None:
    assert judged((), dead=[("users", USERS)], history=[YES]) == Findings(losses=[LOST_ROW])


def test_a_transaction_that_nobody_has_a_trace_of_is_undone_and_not_lost() -> None:
    for status in (200, 202):
        found = judged((), (), (), dead=[("users", USERS)], history=[{**YES, "status": status}])
        assert found == Findings(undone=[f"{ADA}: told {status}, and it is not known"])


def test_a_yes_that_nobody_has_ever_known_of_is_a_violation() -> None:
    assert judged((), (), (), history=[YES]).violations == [f"{ADA}: told 200, and nobody alive or dead has known it"]


@pytest.mark.parametrize("state", ["preparing", "aborted"])
def test_half_a_transaction_is_a_violation_unless_it_is_in_quarantine(state: str) -> None:
    (words,) = judged((transaction(state=state),), dead=[("users", USERS)], history=[YES]).violations
    assert words.endswith(f"is done at {CANCEL}, {RESTOCK}, and its coordinator says: {state} in attempt 1")
    apart = judged((transaction(state=state, quarantined_at="now"),), dead=[("users", USERS)], history=[YES])
    assert (apart.violations, len(apart.in_quarantine)) == ([], 1)


def test_done_here_and_fenced_there_is_a_violation() -> None:
    fenced = judged(products=(row(RESTOCK, "tombstone"),))
    assert fenced.violations == [f"{ADA}: attempt {(ADA, 1)}: done ['{CANCEL}'], fenced ['{RESTOCK}']"]
    assert fenced.losses == [Loss(ADA, "remove_user", 1, RESTOCK, "branch", "products")]


def test_done_in_an_attempt_that_was_forgotten_and_again_in_another_is_a_violation() -> None:
    users = (transaction(attempt=2), told(CANCEL, attempt=2), told(RESTOCK, attempt=2))
    orders, products = (row(CANCEL), row(CANCEL, attempt=2)), (row(RESTOCK), row(RESTOCK, attempt=2))
    (words,) = judged(users, orders, products, dead=[("users", USERS)]).violations
    assert words.endswith("and its coordinator says: committed in attempt 2")


def test_a_mark_of_a_transaction_that_is_over_is_a_violation() -> None:
    marked = {"id": 7, "status": "removing", "removed_by": ADA}
    assert judged(tables(*USERS, users=[marked])).violations == [
        f"{ADA}: user 7 is marked by it, and it is committed in attempt 1"
    ]
    assert not judged(tables(transaction(state="preparing"), users=[marked]), (), ()).violations


def test_told_no_and_committed_afterwards_is_overturned() -> None:
    no = {**YES, "status": 409, "reason": "no_room"}
    assert judged(history=[no]).overturned == [f"{ADA}: told 409, and it is committed"]
    assert not judged(history=[{**no, "reason": "user_is_being_removed"}]).overturned


def test_an_open_order_of_nobody_is_an_orphan_unless_a_loss_explains_it() -> None:
    order = {"id": 3, "status": "open", "user_id": 7}
    assert judged(orders=tables(*ORDERS, orders=[order])).orphans == ["order 3 is open and its user 7 does not exist"]
    assert not judged(orders=tables(orders=[order])).orphans  # the removal of user 7 has lost its branch at orders


def test_a_hold_that_was_forgotten_is_no_loss_and_an_order_whose_user_was_not_held_is_told_apart() -> None:
    placed = transaction(kind="place_order", result={"order": {"id": 3}})
    hold = "users.hold_active_user"
    orders = tables(placed, told(hold), told("products.take_stock"), orders=[{"id": 3, "status": "open", "user_id": 7}])
    found = judged((), orders, (row("products.take_stock"),))
    assert found.losses == []
    assert [loss.branch for loss in found.held] == [hold]
    assert found.orphans == []
    assert found.unheld == [("order 3 is open and its user 7 does not exist", ADA)]
    named = {"transaction": ADA, "lost": "branch", "branch": hold}
    assert unnamed_holds(found.unheld, [named]) == []
    assert unnamed_holds(found.unheld, [{**named, "branch": "products.take_stock"}]) == [found.unheld[0][0]]
    assert not_lost([*found.losses, *found.held], [named]) == []


def test_where_nothing_but_a_hold_is_done_it_is_undone_and_not_lost() -> None:
    hold = row("users.hold_active_user")
    yes = {**YES, "operation": "place", "status": 201}
    placed = transaction(kind="place_order", result={"order": {"id": 3}})
    found = judged((hold,), (), (), dead=[("orders", (placed,))], history=[yes])
    assert (found.losses, found.undone) == ([], [f"{ADA}: told 201, and it is not known"])


def test_a_loss_is_named_by_transaction_and_branch_or_a_lost_row_by_its_id() -> None:
    named = {"transaction": ADA, "lost": "branch", "branch": CANCEL}
    assert unnamed([LOST_CANCEL], [named]) == []
    assert unnamed([LOST_CANCEL], [{**named, "branch": RESTOCK}]) == [LOST_CANCEL]
    assert unnamed([LOST_ROW], [named]) == [LOST_ROW]
    assert unnamed([LOST_ROW], [{"transaction": ADA, "lost": "transaction", "branch": CANCEL}]) == []
    assert not_lost([LOST_CANCEL], [named, {**named, "transaction": BOB}]) == [{**named, "transaction": BOB}]


def test_who_shared_an_attempt_is_named_with_the_values_and_the_leader_alone_does_not_do() -> None:
    leader = {"transaction": BOB, "lost": "branch", "branch": CANCEL}
    assert unnamed([LOST_CANCEL], [{**leader, "values": {ADA: {"user_id": 7}}}]) == []
    assert unnamed([LOST_CANCEL], [leader]) == [LOST_CANCEL]
    assert not_lost([LOST_CANCEL], [{**leader, "values": {ADA: {}}}]) == []


def test_an_id_is_given_twice_where_two_requests_were_given_it() -> None:
    user = {"operation": "add_user", "status": 201, "user": 5}
    refused = {"operation": "add_user", "status": 503, "user": None}
    place = {"operation": "place", "status": 201, "transaction": ADA, "result_order": 9}
    books = {"orders": tables()}
    assert given_twice([user, refused, refused, place, place], books) == []  # the same order, asked for by its key
    assert given_twice([user, user, place, {**place, "transaction": BOB}], books) == [
        f"order 9 was given to {[ADA, BOB]}",
        "user 5 was given 2 times",
    ]
    placed = transaction(BOB, kind="place_order", result={"order": {"id": 9}})
    assert given_twice([place], {"orders": tables(placed)}) == [f"order 9 was given to {[ADA, BOB]}"]


def test_the_story_of_a_transaction_tells_each_side_and_who_has_died() -> None:
    books = {"users": tables(*USERS), "orders": tables(row(CANCEL, "tombstone", attempt=2)), "products": tables()}
    lines = list(story(ADA, books, [("orders", tables(*ORDERS))], [YES]))
    assert lines[0] == f"{ADA}:"
    assert "status=200" in lines[1]
    assert lines[2].startswith("  users has: ")
    assert lines[3:] == [
        f"  attempt 1: users: {CANCEL} vote=yes outcome=commit answered;"
        f" users: {RESTOCK} vote=yes outcome=commit answered; dead orders: {CANCEL} done"
    ]


def test_what_the_services_name_is_read_from_what_they_print() -> None:
    losses = [{"transaction": ADA, "lost": "branch", "branch": CANCEL}]
    answers = {0: {"losses": [], "asked": {}}, 3: {"losses": losses, "asked": {}}, 4: {"losses": [], "asked": {"a": 1}}}
    said = Said()
    for code, answer in answers.items():
        read("users", CompletedProcess([], code, json.dumps(answer), ""), said)
    assert said == Said(losses, ["verify of users: somebody did not answer: {'a': 1}"])


@pytest.mark.parametrize(("code", "printed"), [(1, ""), (0, "[]"), (0, '{"losses": [{}]}'), (3, '{"losses": []}')])
def test_an_answer_that_is_none_is_told(code: int, printed: str) -> None:
    said = Said()
    read("users", CompletedProcess([], code, printed, "no connection"), said)
    assert len(said.wrong) == 1


def test_a_release_without_the_verb_names_nothing() -> None:
    said = Said()
    read("users", CompletedProcess([], 2, "", "argument ROLE: invalid choice: 'verify'"), said)
    assert said == Said(problems=["users knows no verb verify"])


def test_a_seed_names_the_failovers_of_a_run() -> None:
    chosen = list(plans("7", "async", 50))
    assert chosen == list(plans("7", "async", 50))
    assert all(LEAST_LAG <= lag <= MOST_LAG for plan in chosen for lag in plan.lags)
    assert {len(plan.services) for plan in chosen} == {1, 2}
    assert all(plan.load_before > max(plan.lags) for plan in chosen)
    assert {plan.services for plan in plans("7", "sync", 50, only="users")} == {("users",)}
