"""While one release is replaced by the next, each is handed what the other has sent: whatever is missing in it, unknown
or spelled otherwise, it is a conflict that is tried again, and no failure of the transaction."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from eager_shop import EagerShop

from atomic_commit import Conflict, TransactionRecord
from atomic_commit.errors import MembersSaidNo
from atomic_commit.votes import Cause, no_ballot
from tests.installation import INSTALLATION

HANDED_ON: dict[str, Any] = {"prepared": {}, "members": {}, "dropped": {}}
UNREADABLE_HANDED_ON: dict[str, Any] = {
    "a-list": [],
    "nothing": None,
    "without-prepared": {"members": {}, "dropped": {}},
    "without-members": {"prepared": {}, "values": {}, "dropped": {}},
    "without-dropped": {"prepared": {}, "members": {}},
    "with-something-unknown": {**HANDED_ON, "rejected": {}},
    "with-prepared-as-a-list": {**HANDED_ON, "prepared": []},
    "with-members-as-a-list": {**HANDED_ON, "members": []},
}
ANSWERED = {"answer": "committed", "database": str(uuid4())}
UNREADABLE_ANSWERS: dict[str, Any] = {
    "a-text": "committed",
    "nothing": None,
    "without-database": {"answer": "committed"},
    "without-answer": {"database": str(uuid4())},
    "unknown-answer": {**ANSWERED, "answer": "perhaps"},
    "with-something-unknown": {**ANSWERED, "at": 7},
}


def gid(branch: str) -> str:
    return f"{INSTALLATION}:users.remove_user:{uuid4()}:1:{branch}"


def run(shop: EagerShop, task: str, *args: Any, **kwargs: Any) -> Any:
    return shop.celery.tasks[f"{INSTALLATION}.{task}"].apply(args, kwargs).result


def is_a_conflict(result: Any) -> None:
    assert isinstance(result, Conflict), result
    assert "another release" in str(result)


TASKS: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    "orders.cancel_user_orders": (
        (HANDED_ON,),
        {"gid": gid("orders.cancel_user_orders"), "database": None},
    ),
    "orders.commit": ((), {"gid": gid("orders.cancel_user_orders"), "database": None}),
    "orders.rollback": ((), {"gid": gid("orders.cancel_user_orders"), "database": None}),
    "users.decide": ((HANDED_ON,), {"transaction": str(uuid4()), "attempt": 1}),
    "users.review": ((), {"transaction": str(uuid4()), "attempt": 1}),
    "users.acknowledge": ((ANSWERED,), {"gid": gid("orders.cancel_user_orders")}),
}


@pytest.mark.parametrize("task", TASKS)
def test_a_message_whose_fields_are_others_is_a_conflict(shop: EagerShop, task: str) -> None:
    args, kwargs = TASKS[task]
    before = shop.everything()
    for field in kwargs:
        is_a_conflict(run(shop, task, *args, **{name: value for name, value in kwargs.items() if name != field}))
        if field != "database":  # which is whatever it is
            is_a_conflict(run(shop, task, *args, **{**kwargs, field: "spelled otherwise"}))
    is_a_conflict(run(shop, task, *args, **kwargs, trace="new"))
    is_a_conflict(run(shop, task, *args, "one more", **kwargs))
    assert shop.everything() == before


@pytest.mark.parametrize("task", ["orders.cancel_user_orders", "users.decide"])
@pytest.mark.parametrize("handed_on", UNREADABLE_HANDED_ON.values(), ids=UNREADABLE_HANDED_ON)
def test_what_was_handed_on_by_another_release_is_a_conflict(shop: EagerShop, task: str, handed_on: Any) -> None:
    is_a_conflict(run(shop, task, handed_on, **TASKS[task][1]))


@pytest.mark.parametrize("answered", UNREADABLE_ANSWERS.values(), ids=UNREADABLE_ANSWERS)
def test_what_was_answered_by_another_release_is_a_conflict(shop: EagerShop, answered: Any) -> None:
    is_a_conflict(run(shop, "users.acknowledge", answered, **TASKS["users.acknowledge"][1]))


def test_a_branch_that_cannot_read_its_message_is_no_failure_of_the_transaction(
    shop: EagerShop, removal: TransactionRecord, user: int
) -> None:
    orders, _ = shop.gids(removal)
    task = shop.celery.tasks[f"{INSTALLATION}.orders.cancel_user_orders"]
    task.apply(({"members": {}},), {"transaction": str(removal.id), "attempt": 1}, task_id=str(orders))
    shop.atomic("users").coordinator.decide(removal.id, 1)
    record = shop.record("users", removal.id)
    assert (record.attempt, record.failed_attempts, (record.cause or {})["cause"]) == (2, 0, "conflict")
    shop.recover()
    assert shop.status_of_user(user) is None


def test_values_that_nobody_gave_are_a_conflict(shop: EagerShop, removal: TransactionRecord, user: int) -> None:
    """They may be called otherwise by the release that began it, or ran an earlier branch."""
    orders, _ = shop.gids(removal)
    handed_on = shop.handed_on(removal)
    handed_on["members"][str(removal.id)] = {"customer_id": user}
    with pytest.raises(Conflict, match="user_id"):
        shop.prepare(orders, handed_on)
    shop.recover()


def test_a_decider_whose_last_result_is_another_releases_tries_again(
    shop: EagerShop, removal: TransactionRecord
) -> None:
    shop.prepare_all(removal)
    last = shop.gids(removal)[-1]
    proof = dict(shop.celery.AsyncResult(str(last)).result)
    shop.celery.AsyncResult(str(last)).forget()
    del proof["members"]
    shop.celery.backend.store_result(str(last), proof, "SUCCESS")
    shop.atomic("users").coordinator.decide(removal.id, 1)
    record = shop.record("users", removal.id)
    assert (record.attempt, record.failed_attempts, (record.cause or {})["cause"]) == (2, 0, "conflict")
    shop.recover()


def test_a_cause_of_another_release_is_tried_again() -> None:
    no = no_ballot("orders.x", MembersSaidNo({"a": {"cause": "unheard of"}}))
    assert no.of_member("a").cause is Cause.CONFLICT
