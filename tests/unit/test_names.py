"""Names: of branches, of their prepared transactions, of tasks and queues; the same words everywhere."""

from __future__ import annotations

from uuid import UUID

import pytest

from atomic_commit.names import GID_LIMIT, Gid, branch_queue, outcome_queue, service_of, task_name
from celery_config.queues import QUEUE_NAMES, SERVICES, declared_queues

ID = UUID("12345678-1234-4234-8234-123456789abc")
TEXT = f"shop:{ID}:3:orders.cancel_user_orders"


def test_a_gid_reads_app_transaction_attempt_branch() -> None:
    assert str(Gid("shop", ID, 3, "orders.cancel_user_orders")) == TEXT


def test_a_gid_is_read_back_as_it_was_written() -> None:
    gid = Gid.parse(TEXT)
    assert gid == Gid("shop", ID, 3, "orders.cancel_user_orders")
    assert str(gid) == TEXT


@pytest.mark.parametrize("attempt", [1, 2, 10, 4711, 2**31 - 1])
@pytest.mark.parametrize("branch", ["users.hold_active_user", "products.take_stock", "a.b", "x1.y_2"])
def test_every_gid_survives_the_round_trip(attempt: int, branch: str) -> None:
    gid = Gid("my-shop_2", ID, attempt, branch)
    assert Gid.parse(str(gid)) == gid


def test_gids_of_different_attempts_and_branches_never_meet() -> None:
    texts = {
        str(Gid("shop", transaction, attempt, branch))
        for transaction in (ID, UUID(int=1))
        for attempt in (1, 2, 11)
        for branch in ("users.a", "users.b", "orders.a")
    }
    assert len(texts) == 2 * 3 * 3


def test_the_longest_gid_has_199_bytes_because_postgresql_wants_less_than_200() -> None:
    rest = len(f"shop:{ID}:1:orders.")
    longest = Gid("shop", ID, 1, "orders." + "x" * (GID_LIMIT - rest))
    assert len(str(longest).encode()) == GID_LIMIT == 199
    with pytest.raises(ValueError, match="199 bytes"):
        Gid("shop", ID, 1, longest.branch + "x")
    with pytest.raises(ValueError, match="199 bytes"):
        Gid("shop", ID, 10, longest.branch)


FOREIGN = {
    "empty": "",
    "another-program's": "pgxa-1700000000-17",
    "psycopg's-base64": "1_Z2lk_YnF1YWw=",
    "too-few-parts": f"shop:{ID}:orders.x",
    "too-many-parts": f"shop:{ID}:1:orders.x:more",
    "no-uuid": "shop:not-a-uuid:1:orders.x",
    "uuid-in-capitals": f"shop:{str(ID).upper()}:1:orders.x",
    "uuid-without-hyphens": f"shop:{ID.hex}:1:orders.x",
    "uuid-in-braces": f"shop:{{{ID}}}:1:orders.x",
    "attempt-zero": f"shop:{ID}:0:orders.x",
    "attempt-negative": f"shop:{ID}:-1:orders.x",
    "attempt-with-a-zero-in-front": f"shop:{ID}:01:orders.x",
    "attempt-with-a-plus": f"shop:{ID}:+1:orders.x",
    "attempt-with-a-blank": f"shop:{ID}: 1:orders.x",
    "attempt-with-an-underscore": f"shop:{ID}:1_0:orders.x",
    "attempt-in-other-digits": f"shop:{ID}:١:orders.x",
    "attempt-no-number": f"shop:{ID}:one:orders.x",
    "branch-without-service": f"shop:{ID}:1:restock",
    "branch-with-two-dots": f"shop:{ID}:1:orders.a.b",
    "branch-in-capitals": f"shop:{ID}:1:Orders.x",
    "branch-with-a-quote": f"shop:{ID}:1:orders.x'",
    "branch-with-a-line-break": f"shop:{ID}:1:orders.x\n",
    "app-in-capitals": f"Shop:{ID}:1:orders.x",
    "app-empty": f":{ID}:1:orders.x",
    "blank-in-front": f" {TEXT}",
    "line-break-behind": f"{TEXT}\n",
}


@pytest.mark.parametrize("text", FOREIGN.values(), ids=FOREIGN.keys())
def test_what_is_not_exactly_ours_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Gid.parse(text)


@pytest.mark.parametrize(
    ("app", "attempt", "branch"),
    [
        ("Shop", 1, "a.b"),
        ("", 1, "a.b"),
        ("a:b", 1, "a.b"),
        ("shop", 0, "a.b"),
        ("shop", 1, "ab"),
        ("shop", 1, "a:b.c"),
    ],
)
def test_a_gid_that_could_not_be_read_back_is_never_made(app: str, attempt: int, branch: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Gid(app, ID, attempt, branch)


def test_a_gid_does_not_change() -> None:
    with pytest.raises(AttributeError):
        Gid.parse(TEXT).attempt = 4  # type: ignore[misc]


def test_the_branch_says_which_service_runs_it() -> None:
    assert service_of("orders.cancel_user_orders") == "orders"


def test_a_service_has_a_queue_for_branches_and_another_for_outcomes() -> None:
    assert (branch_queue("orders"), outcome_queue("orders")) == ("orders", "orders.outcome")


def test_a_protocol_task_is_named_by_service_and_verb() -> None:
    assert task_name("orders", "commit") == "orders.commit"


def test_every_queue_is_declared_once_and_routed_by_its_own_name() -> None:
    queues = declared_queues("redis://127.0.0.1/0")
    assert sorted(queue.name for queue in queues) == sorted(QUEUE_NAMES)
    assert len(QUEUE_NAMES) == len(set(QUEUE_NAMES)) == 2 * len(SERVICES)
    assert all(queue.routing_key == queue.name for queue in queues)


def test_on_rabbitmq_the_queues_are_replicated_ones() -> None:
    assert all(q.queue_arguments == {"x-queue-type": "quorum"} for q in declared_queues("amqp://127.0.0.1"))
