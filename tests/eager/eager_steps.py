"""Words for the steps of a removal that a test takes by hand."""

from __future__ import annotations

from typing import Any

import psycopg2
import pytest
from eager_shop import EagerShop
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from atomic_commit import TransactionRecord
from atomic_commit.coordinator import begin, begin_batch
from atomic_commit.names import Gid


def coordinator(shop: EagerShop) -> Any:
    return shop.atomic("users").coordinator


def state_of(shop: EagerShop, removal: TransactionRecord) -> tuple[str, int]:
    now = shop.record("users", removal.id)
    return str(now.state), now.attempt


def forge(shop: EagerShop, gid: Gid, result: Any, status: str) -> None:
    """Put this into the result backend as the task's result, whatever is there (Celery keeps a first SUCCESS)."""
    shop.celery.AsyncResult(str(gid)).forget()
    shop.celery.backend.store_result(str(gid), result, status)


def give_up(shop: EagerShop, record: TransactionRecord) -> None:
    """Patience ends: the attempt is rolled back in every service; the next one is not begun yet."""
    for gid in shop.gids(record):
        shop.celery.AsyncResult(str(gid)).forget()
    shop.time_passes(6)
    shop.sweep()


def begin_next_attempt(shop: EagerShop) -> None:
    """The pause is over; the chain of the new attempt is lost, so that the test can be its workers."""
    with shop.post.loses():
        shop.time_passes(6)
        shop.sweep()


def cut_before_the_commit_of_begin(shop: EagerShop, patch: pytest.MonkeyPatch) -> None:
    """From now on the users service's connection is gone when it wants to commit a begin."""

    def cut(point: str, session: Any = None) -> None:
        if point == "begin.before_commit":
            pid = session.connection().connection.driver_connection.info.backend_pid
            shop.query_outside("users", f"SELECT pg_terminate_backend({pid})")

    for module in (begin, begin_batch):
        patch.setattr(module, "reach", cut)


def lose_the_answer_to_the_next_commit(patch: pytest.MonkeyPatch) -> list[bool]:
    """It happens, and nobody is told. Returns a list that is empty until then."""
    commit, lost = Session.commit, []

    def once(session: Session) -> None:
        commit(session)
        if not lost:
            lost.append(True)
            raise OperationalError("COMMIT", None, psycopg2.OperationalError("the connection is gone"))

    patch.setattr(Session, "commit", once)
    return lost
