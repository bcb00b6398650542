"""Words for what a database has lost: rows that were committed are not there any more."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from eager_line import all_removed
from eager_shop import EagerShop

from atomic_commit import TransactionRecord
from atomic_commit.journal.losses import Loss
from atomic_commit.names import service_of
from atomic_commit.verify.verification import Verified
from atomic_commit.wire.messages import Messages

CANCEL, RESTOCK, TAKE, HOLD = (
    "orders.cancel_user_orders",
    "products.restock",
    "products.take_stock",
    "users.hold_active_user",
)


def removed(shop: EagerShop, user: int) -> TransactionRecord:
    """The removal of a user that went as it should."""
    id = shop.remove_user(user).expect(200).json["transaction"]["id"]
    return shop.record("users", UUID(id))


def removed_together(shop: EagerShop, users: list[int]) -> list[TransactionRecord]:
    """Removals that share an attempt."""
    begun = all_removed(shop, users)
    shop.dispatch("users", "remove_user")
    return [shop.record("users", record.id) for record in begun]


def placed(shop: EagerShop, user: int, lines: dict[int, int]) -> TransactionRecord:
    """The placing of an order that went as it should."""
    id = shop.ask_to_place_order(user, lines).expect(201).json["transaction"]["id"]
    return shop.record("orders", UUID(id))


def forget_branch(shop: EagerShop, record: TransactionRecord, branch: str) -> None:
    """The participant has no row of it any more."""
    leader, attempt = record.led_by
    shop.query(
        service_of(branch),
        "DELETE FROM branch_rows WHERE transaction_id = :id AND attempt = :attempt AND branch = :branch",
        id=leader,
        attempt=attempt,
        branch=branch,
    )


def forget_transaction(shop: EagerShop, service: str, record: TransactionRecord) -> None:
    """The coordinator has no row of it any more."""
    shop.query(service, "DELETE FROM transaction_branches WHERE transaction_id = :id", id=record.id)
    shop.query(service, "DELETE FROM transactions WHERE id = :id", id=record.id)


def forget_cancelling(shop: EagerShop, record: TransactionRecord, *orders: int) -> None:
    """The orders service's database is as before it cancelled these."""
    forget_branch(shop, record, CANCEL)
    shop.query("orders", "UPDATE orders SET status = 'open' WHERE id = ANY (:ids)", ids=list(orders))


def forget_restocking(shop: EagerShop, record: TransactionRecord, product: int, quantity: int) -> None:
    """The products service's database is as before it put so many back."""
    forget_branch(shop, record, RESTOCK)
    shop.query("products", "UPDATE products SET stock = stock - :by WHERE id = :id", by=quantity, id=product)


def members_of(shop: EagerShop, record: TransactionRecord, branch: str) -> dict[str, Any] | None:
    """What the branch row has kept; None where there is no row, or no members in it."""
    leader, attempt = record.led_by
    found = shop.query(
        service_of(branch),
        "SELECT members FROM branch_rows WHERE transaction_id = :id AND attempt = :attempt AND branch = :branch",
        id=leader,
        attempt=attempt,
        branch=branch,
    )
    return found[0][0] if found else None


def lost_of(shop: EagerShop, service: str, **given: Any) -> tuple[list[Loss], Verified]:
    """What the service names as lost."""
    found: list[Loss] = []
    verified = shop.atomic(service).verification.run(found=found.extend, **given)
    return found, verified


def open_losses(shop: EagerShop, service: str) -> list[tuple[Any, ...]]:
    """(leader, branch, what is lost, who has lost it) of each that nobody has dealt with."""
    return shop.query(
        service,
        "SELECT transaction_id, branch, lost, service FROM losses WHERE closed_at IS NULL ORDER BY branch",
    )


@contextlib.contextmanager
def deaf(*services: str) -> Iterator[list[tuple[str, str]]]:
    """These do not answer while the block runs. Gives what all were asked: (service, verb)."""
    asked, call = [], Messages.call

    def ask(messages: Messages, service: str, verb: str, arguments: Any, **how: Any) -> Any:
        asked.append((service, verb))
        if service in services:
            how["queue"], how["within"] = "nobody.reads.it", 0.01
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(Messages, "_send", lambda *_: True)
                return call(messages, service, verb, arguments, **how)
        return call(messages, service, verb, arguments, **how)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Messages, "call", ask)
        yield asked
