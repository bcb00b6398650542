"""The promises that the demo holds the shop to. Each is a function of what was seen, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from celery_config.manifest import SERVICES
from embedded.demo.facts import Snapshot, Task, Transaction


@dataclass(frozen=True)
class Check:
    """A promise, what was seen of it, and whether it was kept."""

    promise: str
    seen: str
    kept: bool


def committed(who: str, transaction: Transaction, tasks: Sequence[Task]) -> Check:
    """Decided for: every branch of the last attempt voted yes, and every AsyncResult of its chain says so."""
    last = transaction.of_attempt(transaction.attempt)
    votes = [branch.vote for branch in last]
    statuses = [task.status for task in tasks]
    kept = (
        transaction.state == "committed"
        and bool(last)
        and all(vote == "yes" for vote in votes)
        and all(branch.outcome == "commit" for branch in last)
        and all(status == "SUCCESS" for status in statuses)
    )
    return Check(
        f"The removal of {who} is committed: every vote yes, every AsyncResult SUCCESS",
        f"{transaction.state}; votes {_words(votes)}; {_words(statuses)}",
        kept,
    )


def refused(who: str, status: int, problem: Mapping[str, object], transaction: Transaction) -> Check:
    """Answered 409 by the branch that said no, and every branch, also those that said yes, is rolled back."""
    outcomes = {branch.outcome for branch in transaction.branches}
    votes = [branch.vote for branch in transaction.branches]
    kept = (
        status == 409
        and problem.get("branch") == "products.restock"
        and problem.get("reason") == "no_room"
        and transaction.state == "aborted"
        and outcomes == {"rollback"}
    )
    return Check(
        f"The removal of {who} is refused by products with 409 no_room; all branches roll back",
        f"{status} {problem.get('reason')}; votes {_words(votes)}; outcome {_words(sorted(map(str, outcomes)))}",
        kept,
    )


def outlived(who: str, transaction: Transaction) -> Check:
    """After a crash in the middle: the first attempt was given up as a whole, a later one did all of it."""
    first = {branch.outcome for branch in transaction.of_attempt(1)}
    kept = transaction.state == "committed" and transaction.attempt > 1 and first == {"rollback"}
    return Check(
        f"The removal of {who} survives kill -9: attempt 1 rolled back, a later one committed",
        f"attempt 1 {_words(sorted(map(str, first)))}; attempt {transaction.attempt} {transaction.state}",
        kept,
    )


def unchanged(who: str, differences: Sequence[str]) -> Check:
    """A refusal leaves everything as it was."""
    return Check(
        f"The refused removal of {who} changed nothing: APIs and tables equal, row by row",
        "; ".join(differences) or "equal",
        not differences,
    )


def conserved(now: Snapshot, put_in: Mapping[int, int]) -> list[Check]:
    """The conservation law, for each product: stock + open orders = put in - fulfilled."""
    return [_conserved_one(now, product, put_in.get(product, 0)) for product in sorted({*now.products, *put_in})]


def _conserved_one(now: Snapshot, product: int, put_in: int) -> Check:
    found = now.products.get(product)
    stock = found.stock if found else 0
    # An order that is being cancelled still holds its goods; at the end of the demo none is.
    held = now.quantity(product, "open") + now.quantity(product, "cancelling")
    fulfilled = now.quantity(product, "fulfilled")
    return Check(
        f"{found.name if found else f'Product {product}'}: stock + open orders = put in − fulfilled",
        f"{stock} + {held} = {put_in} − {fulfilled}",
        stock + held == put_in - fulfilled,
    )


def nothing_prepared(prepared: Mapping[str, Sequence[str]]) -> Check:
    """No prepared transaction is left, in any database."""
    return Check(
        "pg_prepared_xacts is empty in every database",
        _counts(prepared),
        prepared.keys() == set(SERVICES) and not any(prepared.values()),
    )


def all_settled(unfinished: Mapping[str, Sequence[str]]) -> Check:
    """Every transaction is decided, and every participant has answered."""
    return Check(
        "No transaction is undecided or unsettled in any service",
        _counts(unfinished),
        unfinished.keys() == set(SERVICES) and not any(unfinished.values()),
    )


def no_open_orders(now: Snapshot, removed: Iterable[int]) -> Check:
    """No order of a removed user is open, or on its way from open."""
    left = [id for user in removed for status in ("open", "cancelling") for id in now.orders_of(user, status)]
    return Check("No removed user has an open order", _words(left) if left else "none", not left)


def gone(now: Snapshot, rows: Iterable[int], removed: Mapping[int, str]) -> Check:
    """The removed users are gone from the API and from the table (`rows`: the ids there)."""
    left = [name for id, name in removed.items() if id in now.users or id in set(rows)]
    return Check("The removed users' rows are gone", f"still there: {_words(left)}" if left else "gone", not left)


def differences(before: Mapping[str, Sequence[str]], after: Mapping[str, Sequence[str]]) -> list[str]:
    """What differs between two readings of the same tables (name → rows as text), a phrase for each table."""
    found = []
    for table in sorted({*before, *after}):
        old, new = set(before.get(table, ())), set(after.get(table, ()))
        if old != new:
            found.append(f"{table}: {len(old - new)} rows gone or changed, {len(new - old)} new or changed")
    return found


def _counts(named: Mapping[str, Sequence[str]]) -> str:
    return ", ".join(f"{name} {len(found)}" for name, found in named.items())


def _words(values: Iterable[object]) -> str:
    return ", ".join(str(value) for value in values)
