"""What a branch function may do by mistake, and what PREPARE TRANSACTION then must not be taken for."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa
from eager_shop import EagerShop
from sqlalchemy.exc import IntegrityError, InternalError
from sqlalchemy.orm import Session

from atomic_commit import Impossible
from atomic_commit.declare import BranchDeclaration
from atomic_commit.names import Gid
from atomic_commit.wire.hand_over import Answer, HandedOn
from tests.installation import INSTALLATION

# ---- "PREPARE TRANSACTION in a failed transaction answers ROLLBACK and raises nothing"


def run_branch(shop: EagerShop, function: Callable[..., Any]) -> tuple[Gid, Callable[[], dict[str, Any]]]:
    """A branch that a careless developer of the users service might write."""
    gid = Gid(INSTALLATION, "users.remove_user", uuid4(), 1, f"users.{function.__name__}")
    branch = BranchDeclaration(gid.branch, function, ())
    handed_on: HandedOn = {"prepared": {}, "members": {str(gid.transaction): {}}, "dropped": {}}
    return gid, lambda: shop.atomic("users").participant.prepare(gid, branch, handed_on)


ADD_EVE = sa.text("INSERT INTO users (name, email) VALUES ('Eve', :email)")


def names(shop: EagerShop) -> list[str]:
    return [name for (name,) in shop.query("users", "SELECT name FROM users ORDER BY id")]


def test_a_branch_that_hides_a_database_error_is_not_taken_for_prepared(shop: EagerShop) -> None:
    shop.add_user("Ada", email="ada@shop.example")

    def hide(session: Session) -> None:
        with suppress(IntegrityError):
            session.execute(ADD_EVE, {"email": "ada@shop.example"})

    _, prepare = run_branch(shop, hide)
    with pytest.raises(Impossible):
        prepare()
    assert shop.prepared() == []
    assert names(shop) == ["Ada"]


def test_a_branch_may_meet_an_error_inside_a_savepoint(shop: EagerShop) -> None:
    shop.add_user("Ada", email="ada@shop.example")

    def either(session: Session) -> None:
        try:
            with session.begin_nested():
                session.execute(ADD_EVE, {"email": "ada@shop.example"})
        except IntegrityError:
            session.execute(ADD_EVE, {"email": "eve@shop.example"})

    gid, prepare = run_branch(shop, either)
    assert prepare()["prepared"] == {str(gid): shop.database_of(gid)}
    assert names(shop) == ["Ada"]
    assert shop.atomic("users").participant.commit(gid) is Answer.COMMITTED
    assert names(shop) == ["Ada", "Eve"]


def test_a_branch_that_hides_a_database_error_behind_a_rollback_is_not_taken_for_prepared_either(
    shop: EagerShop,
) -> None:
    """As one writes it outside a branch. The branch row must not go with the rollback and the yes stay."""
    shop.add_user("Ada", email="ada@shop.example")

    def hide(session: Session) -> None:
        try:
            session.execute(ADD_EVE, {"email": "ada@shop.example"})
        except IntegrityError:
            session.rollback()
        session.execute(ADD_EVE, {"email": "eve@shop.example"})

    _, prepare = run_branch(shop, hide)
    with pytest.raises((Impossible, InternalError)):
        prepare()
    assert shop.prepared() == []
    assert names(shop) == ["Ada"]


def test_a_branch_that_commits_by_itself_still_changes_nothing_before_the_decision(shop: EagerShop) -> None:
    """It must not (see ``TransactionKind``). Whether it is told or not, it commits nothing."""

    def meddle(session: Session) -> None:
        session.execute(ADD_EVE, {"email": "eve@shop.example"})
        session.commit()

    gid, prepare = run_branch(shop, meddle)
    with suppress(Impossible):
        prepare()
    assert names(shop) == []
    assert shop.atomic("users").participant.rollback(gid) is Answer.ROLLED_BACK
    assert (names(shop), shop.prepared()) == ([], [])


def test_a_branch_that_rolls_back_by_itself_is_not_taken_for_prepared(shop: EagerShop) -> None:
    """It must not either. What it has undone in its own eyes must not be committed by a yes."""

    def meddle(session: Session) -> None:
        session.execute(ADD_EVE, {"email": "eve@shop.example"})
        session.rollback()

    _, prepare = run_branch(shop, meddle)
    with pytest.raises(Impossible):
        prepare()
    assert (names(shop), shop.prepared()) == ([], [])


def test_branches_that_fail_leave_no_connection_and_no_lock_behind(shop: EagerShop, user: int) -> None:
    def fail(session: Session) -> None:
        session.execute(sa.text("UPDATE users SET name = 'nobody'"))
        raise ZeroDivisionError

    for _ in range(30):  # more than the pool has connections
        _, prepare = run_branch(shop, fail)
        with pytest.raises(ZeroDivisionError):
            prepare()
    shop.call("users", "PATCH", f"/users/{user}", {"name": "Grace"}).expect(200)
    assert shop.prepared() == []


def test_a_connection_that_prepared_is_as_good_as_new_for_the_next_one(shop: EagerShop) -> None:
    """PREPARE ends the transaction behind the driver's back: what comes next on the connection is in one of its own."""
    done = []
    for number in range(25):

        def add(session: Session, number: int = number) -> None:
            session.execute(ADD_EVE, {"email": f"eve{number}@shop.example"})

        gid, prepare = run_branch(shop, add)
        prepare()
        done.append(gid)
    assert names(shop) == []
    for gid in done[::2]:
        shop.atomic("users").participant.commit(gid)
    for gid in done[1::2]:
        shop.atomic("users").participant.rollback(gid)
    assert len(names(shop)) == 13
