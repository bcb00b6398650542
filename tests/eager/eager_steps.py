"""Words for the steps of a removal that a test takes by hand."""

from __future__ import annotations

from typing import Any

from eager_shop import Shop

from atomic_commit import TransactionRecord
from atomic_commit.names import Gid


def coordinator(shop: Shop) -> Any:
    return shop.atomic("users").coordinator


def state_of(shop: Shop, removal: TransactionRecord) -> tuple[str, int]:
    now = shop.record("users", removal.id)
    return str(now.state), now.attempt


def forge(shop: Shop, gid: Gid, result: Any, status: str) -> None:
    """Put this into the result backend as the task's result, whatever is there (Celery keeps a first SUCCESS)."""
    shop.celery.AsyncResult(str(gid)).forget()
    shop.celery.backend.store_result(str(gid), result, status)


def give_up(shop: Shop, record: TransactionRecord) -> None:
    """Patience ends: the attempt is rolled back in every service; the next one is not begun yet."""
    for gid in shop.gids(record):
        shop.celery.AsyncResult(str(gid)).forget()
    shop.time_passes(6)
    shop.sweep()


def begin_next_attempt(shop: Shop) -> None:
    """The pause is over; the chain of the new attempt is lost, so that the test can be its workers."""
    with shop.post.loses():
        shop.time_passes(6)
        shop.sweep()
