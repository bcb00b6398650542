"""Names: of branches, of their prepared transactions, of tasks and queues; the same words everywhere."""

from __future__ import annotations

from uuid import UUID

import pytest

from atomic_commit.names import GID_LIMIT, NAME_LIMIT, Gid, Installation, service_of
from atomic_commit.workers.queues import declared_queues, queue_names
from celery_config.installation import installation
from celery_config.manifest import SERVICES

ID = UUID("12345678-1234-4234-8234-123456789abc")
SHOP = Installation("shop", "main")
KIND = "users.remove_user"
TEXT = f"shop.main:users.remove_user:{ID}:3:orders.cancel_user_orders"


def test_a_gid_reads_installation_kind_transaction_attempt_branch() -> None:
    assert str(Gid(SHOP, KIND, ID, 3, "orders.cancel_user_orders")) == TEXT


def test_a_gid_is_read_back_as_it_was_written() -> None:
    gid = Gid.parse(TEXT)
    assert gid == Gid(SHOP, KIND, ID, 3, "orders.cancel_user_orders")
    assert str(gid) == TEXT


@pytest.mark.parametrize("attempt", [1, 2, 10, 4711, 2**31 - 1])
@pytest.mark.parametrize("branch", ["users.hold_active_user", "products.take_stock", "a.b", "x1.y_2"])
def test_every_gid_survives_the_round_trip(attempt: int, branch: str) -> None:
    gid = Gid(Installation("my-shop_2", "eu-1"), KIND, ID, attempt, branch)
    assert Gid.parse(str(gid)) == gid


def test_gids_of_different_attempts_and_branches_never_meet() -> None:
    texts = {
        str(Gid(SHOP, KIND, transaction, attempt, branch))
        for transaction in (ID, UUID(int=1))
        for attempt in (1, 2, 11)
        for branch in ("users.a", "users.b", "orders.a")
    }
    assert len(texts) == 2 * 3 * 3


def test_the_longest_gid_has_199_bytes_because_postgresql_wants_less_than_200() -> None:
    rest = len(f"{SHOP}:{KIND}:{ID}:1:orders.")
    longest = Gid(SHOP, KIND, ID, 1, "orders." + "x" * (GID_LIMIT - rest))
    assert len(str(longest).encode()) == GID_LIMIT == 199
    with pytest.raises(ValueError, match="199 bytes"):
        Gid(SHOP, KIND, ID, 1, longest.branch + "x")
    with pytest.raises(ValueError, match="199 bytes"):
        Gid(SHOP, KIND, ID, 10, longest.branch)


FOREIGN = {
    "empty": "",
    "another-program's": "pgxa-1700000000-17",
    "psycopg's-base64": "1_Z2lk_YnF1YWw=",
    "too-few-parts": f"shop.main:users.remove_user:{ID}:orders.x",
    "too-many-parts": f"shop.main:users.remove_user:{ID}:1:orders.x:more",
    "no-uuid": "shop.main:users.remove_user:not-a-uuid:1:orders.x",
    "uuid-in-capitals": f"shop.main:users.remove_user:{str(ID).upper()}:1:orders.x",
    "uuid-without-hyphens": f"shop.main:users.remove_user:{ID.hex}:1:orders.x",
    "uuid-in-braces": f"shop.main:users.remove_user:{{{ID}}}:1:orders.x",
    "attempt-zero": f"shop.main:users.remove_user:{ID}:0:orders.x",
    "attempt-negative": f"shop.main:users.remove_user:{ID}:-1:orders.x",
    "attempt-with-a-zero-in-front": f"shop.main:users.remove_user:{ID}:01:orders.x",
    "attempt-with-a-plus": f"shop.main:users.remove_user:{ID}:+1:orders.x",
    "attempt-with-a-blank": f"shop.main:users.remove_user:{ID}: 1:orders.x",
    "attempt-with-an-underscore": f"shop.main:users.remove_user:{ID}:1_0:orders.x",
    "attempt-in-other-digits": f"shop.main:users.remove_user:{ID}:١:orders.x",
    "attempt-no-number": f"shop.main:users.remove_user:{ID}:one:orders.x",
    "branch-without-service": f"shop.main:users.remove_user:{ID}:1:restock",
    "branch-with-two-dots": f"shop.main:users.remove_user:{ID}:1:orders.a.b",
    "branch-in-capitals": f"shop.main:users.remove_user:{ID}:1:Orders.x",
    "branch-with-a-quote": f"shop.main:users.remove_user:{ID}:1:orders.x'",
    "branch-with-a-line-break": f"shop.main:users.remove_user:{ID}:1:orders.x\n",
    "app-in-capitals": f"Shop.main:users.remove_user:{ID}:1:orders.x",
    "app-empty": f".main:users.remove_user:{ID}:1:orders.x",
    "app-without-installation": f"shop:users.remove_user:{ID}:1:orders.x",
    "installation-with-a-dot": f"shop.a.b:users.remove_user:{ID}:1:orders.x",
    "no-kind": f"shop.main:{ID}:1:orders.x",
    "kind-without-coordinator": f"shop.main:remove_user:{ID}:1:orders.x",
    "blank-in-front": f" {TEXT}",
    "line-break-behind": f"{TEXT}\n",
}


@pytest.mark.parametrize("text", FOREIGN.values(), ids=FOREIGN.keys())
def test_what_is_not_exactly_ours_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Gid.parse(text)


@pytest.mark.parametrize(
    ("kind", "attempt", "branch"),
    [
        ("Users.x", 1, "a.b"),
        ("remove_user", 1, "a.b"),
        ("users.a:b", 1, "a.b"),
        (KIND, 0, "a.b"),
        (KIND, 1, "ab"),
        (KIND, 1, "a:b.c"),
    ],
)
def test_a_gid_that_could_not_be_read_back_is_never_made(kind: str, attempt: int, branch: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Gid(SHOP, kind, ID, attempt, branch)


@pytest.mark.parametrize("name", ["", "Main", "a.b", "a:b", "1st", "a b", "x" * (NAME_LIMIT + 1), "é"])
def test_a_name_that_could_not_be_read_back_is_none_of_an_installation(name: str) -> None:
    for names in ((name, "main"), ("shop", name)):
        with pytest.raises(ValueError, match="lower-case"):
            Installation(*names)
    if name:
        with pytest.raises(ValueError, match="ATOMIC_INSTALLATION"):
            installation({"ATOMIC_INSTALLATION": name})


def test_a_process_is_told_which_installation_it_belongs_to() -> None:
    assert installation({"ATOMIC_INSTALLATION": "main"}) == SHOP


def test_there_is_no_installation_that_nobody_has_named() -> None:
    with pytest.raises(ValueError, match="ATOMIC_INSTALLATION is not set"):
        installation({})


def test_a_gid_says_who_coordinates_it() -> None:
    assert Gid.parse(TEXT).coordinator == "users"


def test_a_gid_does_not_change() -> None:
    with pytest.raises(AttributeError):
        Gid.parse(TEXT).attempt = 4  # type: ignore[misc]


def test_the_branch_says_which_service_runs_it() -> None:
    assert service_of("orders.cancel_user_orders") == "orders"


def test_a_service_has_a_queue_for_branches_and_another_for_outcomes() -> None:
    queues = SHOP.branch_queue("orders"), SHOP.outcome_queue("orders")
    assert queues == ("shop.main.orders", "shop.main.orders.outcome")


def test_a_protocol_task_is_named_by_service_and_verb() -> None:
    assert SHOP.task("orders", "commit") == "shop.main.orders.commit"
    assert SHOP.branch_task("products.restock") == "shop.main.products.restock"


def test_every_queue_is_declared_once_and_routed_by_its_own_name() -> None:
    queues = declared_queues(SHOP, SERVICES, "redis://127.0.0.1/0")
    assert sorted(queue.name for queue in queues) == sorted(queue_names(SHOP, SERVICES))
    assert len(queue_names(SHOP, SERVICES)) == len(set(queue_names(SHOP, SERVICES))) == 2 * len(SERVICES)
    assert all(queue.routing_key == queue.name for queue in queues)


def test_on_rabbitmq_the_queues_are_replicated_ones() -> None:
    assert all(
        q.queue_arguments == {"x-queue-type": "quorum"} for q in declared_queues(SHOP, SERVICES, "amqp://127.0.0.1")
    )
