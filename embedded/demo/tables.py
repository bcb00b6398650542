"""What the demo shows, as tables for a terminal of 100 columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from embedded.demo.checks import Check
from embedded.demo.facts import Event, Order, Snapshot, Task, Transaction

CHANGED, GOOD, BAD = "bold yellow", "bold green", "bold red"
STATUS_STYLES = {"SUCCESS": "green", "FAILURE": "red", "REVOKED": "red", "yes": "green", "no": "red"}


def state(before: Snapshot, after: Snapshot, names: Mapping[int, str]) -> RenderableType:
    """Users, stock and orders; where the two differ, both values. `names`: of users, also of removed ones."""
    beside = Table.grid(padding=(0, 3))
    beside.add_row(_users(before, after), _stock(before, after))
    return Group(beside, "", _orders(before, after, names))


def chain(attempt: int, tasks: Sequence[Task]) -> RenderableType:
    """Celery's side of an attempt: the tasks of the chain, their queues, their AsyncResults."""
    table = _table(f"The chain of attempt {attempt}, task by task")
    table.add_column("task id", no_wrap=True)
    table.add_column("queue", no_wrap=True)
    table.add_column("AsyncResult", no_wrap=True)
    for task in tasks:
        table.add_row(task.id, task.queue, _styled(task.status))
    return table


def votes(transaction: Transaction, tasks: Mapping[int, Sequence[Task]]) -> RenderableType:
    """The protocol's side, over all attempts: status → vote → outcome → answered."""
    table = _table("Votes and outcome, branch by branch")
    for name in ("attempt", "branch", "AsyncResult", "vote", "outcome", "answered after"):
        table.add_column(name, no_wrap=True)
    for branch in transaction.branches:
        status = next((t.status for t in tasks.get(branch.attempt, ()) if t.id == branch.task_id), "")
        table.add_row(
            str(branch.attempt),
            branch.name,
            _styled(status),
            _styled(branch.vote or "-"),
            branch.outcome or "-",
            transaction.milliseconds_to(branch.settled_at),
        )
    return table


def decision(transaction: Transaction, seconds: float | None) -> RenderableType:
    """The one line that matters, and how long it took."""
    text = Text("Decision: ").append(transaction.state, style=GOOD if transaction.state == "committed" else BAD)
    text.append(f" after {transaction.milliseconds_to(transaction.decided_at)} (attempt {transaction.attempt}),")
    text.append(f" settled after {transaction.milliseconds_to(transaction.settled_at)}")
    if seconds is not None:
        text.append(f"; answered after {seconds * 1000:.0f} ms")
    return text


def problem(members: Mapping[str, object]) -> RenderableType:
    """The body of a refusal (application/problem+json), without its transaction."""
    table = _table("What the client is told (application/problem+json)")
    table.show_header = False
    table.add_column("member", style="bold", no_wrap=True)
    table.add_column("value")
    for name, value in members.items():
        table.add_row(name, str(value))
    return table


def timeline(events: Sequence[Event], start: datetime) -> RenderableType:
    """What happened, in the order of the clock, in seconds from `start`."""
    table = _table("What happened")
    table.add_column("at", justify="right", no_wrap=True)
    table.add_column("what")
    table.add_column("seen in", no_wrap=True)
    for event in sorted(events):
        at = f"{(event.at - start).total_seconds():.2f} s"
        table.add_row(at, Text(event.what, style=CHANGED if "kill -9" in event.what else ""), event.seen_in)
    return table


def verdict(checks: Sequence[Check]) -> RenderableType:
    """Promise by promise."""
    table = _table("Promises")
    table.add_column("", no_wrap=True)
    table.add_column("promise")
    table.add_column("seen")
    for check in checks:
        mark = Text("✔", style=GOOD) if check.kept else Text("✘", style=BAD)
        table.add_row(mark, check.promise, check.seen)
    return table


def _users(before: Snapshot, after: Snapshot) -> Table:
    table = _table("Users")
    table.add_column("id", justify="right")
    table.add_column("name")
    table.add_column("status", no_wrap=True)
    for id in sorted({*before.users, *after.users}):
        old, new = before.users.get(id), after.users.get(id)
        name = (old or new).name  # type: ignore[union-attr]
        table.add_row(str(id), name, _change(old.status if old else "-", new.status if new else "gone"))
    return table


def _stock(before: Snapshot, after: Snapshot) -> Table:
    table = _table("Stock")
    table.add_column("product")
    table.add_column("in stock", no_wrap=True)
    table.add_column("capacity", justify="right")
    table.add_column("in open orders", no_wrap=True)
    for id, old in before.products.items():
        new = after.products.get(id)
        capacity = "-" if old.capacity is None else str(old.capacity)
        held = _change(before.quantity(id, "open"), after.quantity(id, "open"))
        table.add_row(old.name, _change(old.stock, new.stock if new else "gone"), capacity, held)
    return table


def _orders(before: Snapshot, after: Snapshot, names: Mapping[int, str]) -> Table:
    table = _table("Orders")
    table.add_column("id", justify="right")
    table.add_column("user")
    table.add_column("holds")
    table.add_column("status", no_wrap=True)
    for id in sorted({*before.orders, *after.orders}):
        old, new = before.orders.get(id), after.orders.get(id)
        order = old or new
        assert order is not None
        status = _change(old.status if old else "-", new.status if new else "gone")
        who = names[order.user_id] + ("" if order.user_id in after.users else " (gone)")
        table.add_row(str(id), who, _held(order, before), status)
    return table


def _held(order: Order, shop: Snapshot) -> str:
    return ", ".join(f"{quantity} {shop.products[product].name}" for product, quantity in order.lines.items())


def _change(old: object, new: object) -> Text:
    return Text(str(old)) if old == new else Text(f"{old} → {new}", style=CHANGED)


def _styled(word: str) -> Text:
    return Text(word, style=STATUS_STYLES.get(word, "yellow"))


def _table(title: str) -> Table:
    return Table(
        title=title,
        title_justify="left",
        title_style="italic",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        show_edge=False,
        collapse_padding=True,
        padding=(0, 1, 0, 0),
    )
