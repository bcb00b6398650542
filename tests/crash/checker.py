"""The independent checker: judges a soak by its history and by rows alone. It knows the shop's promises, not its code.

Nothing of the shop, of the engine or of the clients is imported here; what is believed is what a client was answered
and what stands in the databases when everything is quiet.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

from celery_config.manifest import COORDINATORS, SERVICES

Rows = Callable[..., list[dict[str, Any]]]


def check(history: list[dict[str, Any]], rows: Rows) -> list[str]:
    """Every violation, in words. `rows(database, statement)` reads one of the databases."""
    journals = {str(row["id"]): row for service in SERVICES for row in rows(service, "SELECT * FROM transactions")}
    orders = {row["id"]: row for row in rows("orders", "SELECT * FROM orders")}
    users = {row["id"]: row for row in rows("users", "SELECT * FROM users")}
    return [
        *_ended(journals, rows),
        *_atomic(journals, rows),
        *_orders_once(journals, orders),
        *_answers(history, journals, orders, users),
        *_keys(history),
        *_no_orphans(orders, users),
        *_conserved(history, rows),
    ]


def _ended(journals: dict[str, Any], rows: Rows) -> list[str]:
    """Nothing is undecided, unsettled, quarantined, prepared or marked."""
    prepared = [
        row
        for service in SERVICES
        for row in rows(service, "SELECT gid FROM pg_prepared_xacts WHERE database = current_database()")
    ]
    marked = rows("users", "SELECT id FROM users WHERE status <> 'active'")
    cancelling = rows("orders", "SELECT id FROM orders WHERE status = 'cancelling'")
    unsettled = [id for id, row in journals.items() if row["state"] == "preparing" or not row["settled_at"]]
    quarantined = [id for id, row in journals.items() if row["quarantined_at"]]
    return [
        f"{what}: {len(which)}, for example {which[:5]}"
        for what, which in {
            "prepared": prepared,
            "user marked": marked,
            "order marked": cancelling,
            "not settled": unsettled,
            "quarantined": quarantined,
        }.items()
        if which
    ]


def _atomic(journals: dict[str, Any], rows: Rows) -> list[str]:
    """An attempt that somebody in it has committed: every branch is done, once. Any other attempt: none is."""
    told, done = defaultdict(set), defaultdict(set)
    for service in COORDINATORS:
        for row in rows(service, "SELECT transaction_id, attempt, name FROM transaction_branches"):
            told[str(row["transaction_id"]), row["attempt"]].add(row["name"])
    for service in SERVICES:
        for row in rows(service, "SELECT transaction_id, attempt, branch FROM branch_rows WHERE kind = 'done'"):
            done[str(row["transaction_id"]), row["attempt"]].add(row["branch"])
    committed = defaultdict(list)
    for id, row in journals.items():
        if row["state"] == "committed":
            attempt = (str(row["leader"]), row["leader_attempt"]) if row["leader"] else (id, row["attempt"])
            committed[attempt].append(f"{row['kind']} {id}")
    wrong = [f"committed and no branch was told: {committed[attempt]}" for attempt in committed if not told[attempt]]
    for attempt in {*done, *committed}:
        wanted = told[attempt] if attempt in committed else set()
        if done[attempt] != wanted:
            wrong.append(f"attempt {attempt} of {committed[attempt]}: done {done[attempt]}, should be {wanted}")
    return wrong


def _orders_once(journals: dict[str, Any], orders: dict[int, Any]) -> list[str]:
    """Every order was made by exactly one committed placing, and every committed placing made one."""
    made = Counter(
        row["result"]["order"]["id"]
        for row in journals.values()
        if row["kind"] == "place_order" and row["state"] == "committed"
    )
    return [f"order {id}: made by {made[id]} placings" for id in set(made) | set(orders) if made[id] != (id in orders)]


def _answers(
    history: list[dict[str, Any]], journals: dict[str, Any], orders: dict[int, Any], users: dict[int, Any]
) -> list[str]:
    """What a client was told is so. A lost connection, 500 and 504 promise nothing."""
    wrong = []
    for entry in history:
        status, operation, id = entry.get("status"), entry["operation"], entry.get("transaction")
        if operation not in ("place", "cancel", "remove"):
            continue
        journal = journals.get(id) if id else None
        if status in (200, 201) and not (journal and journal["state"] == "committed"):
            wrong.append(f"told yes, and it was not: {entry} {journal}")
        elif status in (409, 503) and journal and journal["state"] == "committed" and not _in_the_way(entry):
            wrong.append(f"told no, and it was: {entry}")
        elif status == 202 and journal is None:
            wrong.append(f"accepted and lost: {entry}")
        if status == 200 and operation == "remove" and entry["user"] in users:
            wrong.append(f"removed and still there: {entry}")
        if status == 200 and operation == "cancel" and _status(orders, entry) != "cancelled":
            wrong.append(f"cancelled and it is not: {entry} {orders.get(entry['order'])}")
        if status == 201 and entry["result_order"] not in orders:
            wrong.append(f"placed and not there: {entry}")
    fulfilled = [entry for entry in history if entry["operation"] == "fulfil" and entry["status"] == 200]
    wrong += [f"fulfilled and it is not: {entry}" for entry in fulfilled if _status(orders, entry) != "fulfilled"]
    return wrong


def _status(orders: dict[int, Any], entry: dict[str, Any]) -> str | None:
    """Of the order that an answer speaks of; None where it has gone."""
    return orders[entry["order"]]["status"] if entry["order"] in orders else None


def _in_the_way(entry: dict[str, Any]) -> bool:
    """A request that is refused because of another transaction is told of that one, which may well commit."""
    return entry["reason"] in ("user_is_being_removed", "order_is_being_cancelled")


def _keys(history: list[dict[str, Any]]) -> list[str]:
    """All requests with one key that were accepted are one transaction, or one change of the stock."""
    accepted = defaultdict(set)
    for entry in history:
        if entry.get("key") and entry.get("status") in (200, 201, 202):
            one = ("stock", entry["said"]) if entry["operation"] == "stock" else entry["transaction"]
            accepted[entry["key"]].add(one)
    return [f"key {key} stands for {len(those)} things: {those}" for key, those in accepted.items() if len(those) > 1]


def _no_orphans(orders: dict[int, Any], users: dict[int, Any]) -> list[str]:
    return [
        f"open order {id} of user {row['user_id']} who does not exist"
        for id, row in orders.items()
        if row["status"] in ("open", "cancelling") and row["user_id"] not in users
    ]


def _conserved(history: list[dict[str, Any]], rows: Rows) -> list[str]:
    """For each product: stock + open quantities = what was put in − what was fulfilled.

    A stock change that nobody knows the outcome of may or may not have happened, so each adds a possible value.
    """
    put_in: Counter[int] = Counter()
    maybe: dict[int, list[int]] = defaultdict(list)
    for entry in history:
        if entry["operation"] == "add_product":
            put_in[entry["product"]] += entry["stock"]
    for change in _stock_changes(history):
        product, delta, statuses = change[0]["product"], change[0]["delta"], {entry["status"] for entry in change}
        if 200 in statuses:
            put_in[product] += delta
        elif not statuses <= {404, 409, 422, 503}:
            maybe[product].append(delta)
    held: Counter[int] = Counter()
    for row in rows(
        "orders",
        "SELECT product_id, sum(quantity)::bigint AS units FROM order_lines JOIN orders ON orders.id = order_id"
        " WHERE status IN ('open', 'cancelling', 'fulfilled') GROUP BY product_id",
    ):
        held[row["product_id"]] = row["units"]
    wrong = []
    for row in rows("products", "SELECT id, stock FROM products"):
        possible = {0}
        for delta in maybe[row["id"]]:
            possible |= {so_far + delta for so_far in possible}
        found = row["stock"] + held[row["id"]] - put_in[row["id"]]
        if found not in possible:
            wrong.append(f"product {row['id']}: {found} units too many or too few (possible: {sorted(possible)[:5]})")
    return wrong


def _stock_changes(history: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """The requests for each change: those of one Idempotency-Key are for one, however many were answered 200."""
    changes: dict[object, list[dict[str, Any]]] = defaultdict(list)
    for number, entry in enumerate(history):
        if entry["operation"] == "stock":
            changes[entry["key"] or number].append(entry)
    return list(changes.values())
