"""The demo says ✔ only where a promise was kept: each of its checks, once kept and broken in each way it can be."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from celery_config.manifest import SERVICES
from embedded.demo import checks
from embedded.demo.facts import Branch, Order, Product, Snapshot, Task, Transaction, User

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TEA = 1


def shop(*orders: tuple[int, str, int], stock: int = 0, users: tuple[int, ...] = (1, 2)) -> Snapshot:
    """A shop that sells tea; an order is (user, status, quantity of tea)."""
    return Snapshot(
        {id: User(id, f"user {id}", "active") for id in users},
        {TEA: Product(TEA, "Tea", stock, None)},
        {number: Order(number, user, status, {TEA: held}) for number, (user, status, held) in enumerate(orders, 1)},
    )


def transaction(state: str, *branches: tuple[int, str | None, str | None]) -> Transaction:
    """A removal; a branch is (attempt, vote, outcome)."""
    made = tuple(
        Branch("products.restock", attempt, "products", f"id {n}", vote, outcome, NOW, NOW, NOW)
        for n, (attempt, vote, outcome) in enumerate(branches)
    )
    return Transaction("a", state, max((b.attempt for b in made), default=1), True, NOW, NOW, NOW, made)


def tasks(*statuses: str) -> list[Task]:
    return [Task(f"shop:a:1:{n}", "products", status) for n, status in enumerate(statuses)]


YES = (1, "yes", "commit")


@pytest.mark.parametrize(
    ("seen", "statuses", "kept"),
    [
        (transaction("committed", YES, YES), ("SUCCESS",) * 3, True),
        (transaction("aborted", YES, YES), ("SUCCESS",) * 3, False),
        (transaction("committed", YES, (1, "no", "commit")), ("SUCCESS",) * 3, False),
        (transaction("committed", YES, (1, "yes", "rollback")), ("SUCCESS",) * 3, False),
        (transaction("committed", YES, YES), ("SUCCESS", "SUCCESS", "PENDING"), False),
        (transaction("committed"), (), False),
        (transaction("committed", (1, "silent", "rollback"), (2, "yes", "commit")), ("SUCCESS",) * 2, True),
    ],
)
def test_a_removal_is_committed_when_votes_outcomes_and_results_all_say_so(
    seen: Transaction, statuses: tuple[str, ...], kept: bool
) -> None:
    assert checks.committed("Ada", seen, tasks(*statuses)).kept is kept


PROBLEM = {"branch": "products.restock", "reason": "no_room"}
ROLLED_BACK = transaction("aborted", (1, "yes", "rollback"), (1, "no", "rollback"))


@pytest.mark.parametrize(
    ("status", "problem", "seen", "kept"),
    [
        (409, PROBLEM, ROLLED_BACK, True),
        (503, PROBLEM, ROLLED_BACK, False),
        (409, {**PROBLEM, "branch": "orders.cancel_user_orders"}, ROLLED_BACK, False),
        (409, {**PROBLEM, "reason": "unknown_product"}, ROLLED_BACK, False),
        (409, PROBLEM, transaction("committed", (1, "yes", "rollback")), False),
        (409, PROBLEM, transaction("aborted", (1, "yes", "commit"), (1, "no", "rollback")), False),
        (409, PROBLEM, transaction("aborted", (1, "yes", None), (1, "no", "rollback")), False),
    ],
)
def test_a_refusal_names_its_branch_and_rolls_back_every_branch(
    status: int, problem: dict[str, object], seen: Transaction, kept: bool
) -> None:
    assert checks.refused("Grace", status, problem, seen).kept is kept


@pytest.mark.parametrize(
    ("seen", "kept"),
    [
        (transaction("committed", (1, "silent", "rollback"), (2, "yes", "commit")), True),
        (transaction("committed", YES), False),
        (transaction("aborted", (1, "silent", "rollback"), (2, "no", "rollback")), False),
        (transaction("committed", (1, "yes", "commit"), (2, "yes", "commit")), False),
    ],
)
def test_a_crash_is_survived_when_the_first_attempt_is_rolled_back_and_a_later_one_commits(
    seen: Transaction, kept: bool
) -> None:
    assert checks.outlived("Alan", seen).kept is kept


@pytest.mark.parametrize(
    ("now", "kept"),
    [
        (shop((1, "open", 3), (1, "fulfilled", 2), (2, "cancelled", 4), stock=5), True),
        (shop((1, "cancelling", 3), (1, "fulfilled", 2), stock=5), True),
        (shop((1, "open", 3), (1, "fulfilled", 2), stock=6), False),
        (shop((1, "cancelled", 3), (1, "fulfilled", 2), stock=5), False),
    ],
)
def test_the_conservation_law_holds_or_does_not(now: Snapshot, kept: bool) -> None:
    assert [check.kept for check in checks.conserved(now, {TEA: 10})] == [kept]


def test_a_product_that_vanished_with_its_stock_breaks_the_conservation_law() -> None:
    assert [check.kept for check in checks.conserved(shop(stock=10), {TEA: 10, 2: 1})] == [True, False]


@pytest.mark.parametrize("check", [checks.nothing_prepared, checks.all_settled])
def test_every_database_must_have_been_looked_at_and_be_empty(check) -> None:
    empty: dict[str, list[str]] = {service: [] for service in SERVICES}
    assert check(empty).kept
    assert not check({**empty, "orders": ["shop:a:1:orders.cancel_user_orders"]}).kept
    assert not check({service: [] for service in SERVICES[1:]}).kept


@pytest.mark.parametrize("status", ["open", "cancelling"])
def test_a_removed_user_has_no_open_order(status: str) -> None:
    assert checks.no_open_orders(shop((1, "fulfilled", 1), (2, status, 1)), [1]).kept
    assert not checks.no_open_orders(shop((1, status, 1)), [1]).kept


def test_a_removed_user_is_gone_from_the_api_and_from_the_table() -> None:
    assert checks.gone(shop(users=(2,)), [2], {1: "Ada"}).kept
    assert not checks.gone(shop(users=(1, 2)), [2], {1: "Ada"}).kept
    assert not checks.gone(shop(users=(2,)), [1, 2], {1: "Ada"}).kept


def test_differences_name_the_tables_that_differ() -> None:
    before = {"users": ["a", "b"], "orders": ["c"]}
    assert checks.differences(before, {"users": ["b", "a"], "orders": ["c"]}) == []
    assert checks.differences(before, {"users": ["a", "B"], "orders": ["c"]}) == [
        "users: 1 rows gone or changed, 1 new or changed"
    ]
    assert len(checks.differences(before, {"users": ["a", "b"]})) == 1
    assert not checks.unchanged("Grace", ["users"]).kept
