"""Who has to write a user's row is not overtaken by orders of that user, however many come."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest
import sqlalchemy as sa
from eager_line import all_placed, ends
from eager_shop import Answer, EagerShop
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from atomic_commit import Refused
from users_service.branches import hold_active_user
from users_service.remove_user import begin
from users_service.remove_user_batch import begin as begin_batch

WAITS = (
    "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    " AND query LIKE '%' || :words || '%' AND pid <> pg_backend_pid()"
)
SHARE = "SELECT id FROM users WHERE id = :id FOR SHARE"
PASSING = "SELECT pg_advisory_xact_lock_shared(7219403, :id)"


def wait_for_waiter(shop: EagerShop, words: str) -> None:
    """Until a session of the users database waits for a lock in a statement with these words."""
    end = time.monotonic() + 10
    while shop.query("users", WAITS, words=words) == [(0,)]:
        assert time.monotonic() < end, f"nobody waits in {words}"
        time.sleep(0.01)


def test_an_order_that_comes_later_waits_behind_a_removal_that_waits(shop: EagerShop, user: int) -> None:
    """For an earlier order of the same user, with which the later one could share the row."""
    seen: list[str] = []

    def remove() -> None:
        with Session(shop.engines["users"]) as session, session.begin():
            begin(session, uuid4(), {"user_id": user})
            seen.append("marked")

    def order() -> None:
        with Session(shop.engines["users"]) as session, session.begin():
            with pytest.raises(Refused, match="is being removed"):
                hold_active_user(session, user)
            seen.append("refused")

    with ThreadPoolExecutor(2) as pool:
        with shop.locked("users", SHARE, id=user):
            removing = pool.submit(remove)
            wait_for_waiter(shop, "FROM users")
            ordering = pool.submit(order)
            wait_for_waiter(shop, "pg_advisory_lock_shared")
            assert seen == []
        removing.result(10)
        ordering.result(10)
    assert seen == ["marked", "refused"]
    shop.query("users", "UPDATE users SET status = 'active', removed_by = NULL")


def test_an_order_waits_for_nobody_where_nobody_has_to_write(shop: EagerShop, user: int, teapot: int) -> None:
    with shop.locked("users", SHARE, id=user):
        shop.place_order(user, {teapot: 1})
    assert shop.query("users", "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == [(0,)]


WRITERS: dict[str, Callable[[EagerShop, int], Answer]] = {
    "a removal": lambda shop, user: shop.remove_user(user),
    "a change": lambda shop, user: shop.call("users", "PATCH", f"/users/{user}", {"name": "Grace"}),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_who_writes_waits_for_those_who_are_passing(shop: EagerShop, user: int, writer: str) -> None:
    with shop.locked("users", PASSING, id=user):
        WRITERS[writer](shop, user).problem(503, "conflict-busy")
    WRITERS[writer](shop, user).expect(200)


def test_removals_that_begin_batch_wait_for_those_who_are_passing_too(shop: EagerShop, user: int) -> None:
    """And not for long: then each begins by itself."""
    with shop.locked("users", PASSING, id=user), Session(shop.engines["users"]) as session:
        session.execute(sa.text("SET LOCAL lock_timeout = 50"))
        with pytest.raises(OperationalError, match="lock timeout"):
            begin_batch(session, {uuid4(): {"user_id": user}})


def test_orders_that_share_an_attempt_pass_once(shop: EagerShop, user: int, teapot: int) -> None:
    """Also where one of them is refused, and the others are looked at again: they may have the row already when
    somebody wants to write it, and be what that one waits for."""
    nobody = user + 1
    placings = all_placed(shop, (user, {teapot: 1}), (nobody, {teapot: 2}), (user, {teapot: 3}))
    passes: list[str] = []

    def count(connection: object, cursor: object, statement: str, *_: object) -> None:
        if "pg_advisory_lock_shared" in statement:
            passes.append(statement)

    with shop.apps["users"].app_context():
        engine = shop.apps["users"].extensions["sqlalchemy"].engine
    sa.event.listen(engine, "before_cursor_execute", count)
    try:
        shop.dispatch("orders", "place_order")
    finally:
        sa.event.remove(engine, "before_cursor_execute", count)
    assert ends(shop, "orders", placings) == [("committed", 1), ("aborted", 1), ("committed", 1)]
    assert len(passes) == 1
