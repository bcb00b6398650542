"""Flower, with nothing said to it, shows what every queue is doing."""

from __future__ import annotations

from typing import Any

from local_servers.json_http import call
from tests.broker.shopkeeper import WORKERS, Shopkeeper
from tests.broker.waiting import wait_until
from tests.installation import INSTALLATION, QUEUE_NAMES


def test_flower_shows_each_task_of_a_removal_by_name_state_and_queue(shop: Shopkeeper) -> None:
    ada, tea = shop.add_user(), shop.add_product()
    shop.placed_order(ada, {tea: 1})
    removal = shop.remove_user(ada)
    assert shop.settled(removal) == "committed"

    def shown() -> dict[str, Any] | None:
        tasks = call("GET", f"{shop.shop.flower_url}/api/tasks?limit=100&sort_by=-received").body
        ours = {id: task for id, task in tasks.items() if removal.transaction in f"{id} {task['kwargs']}"}
        seen = {(task["name"], task["state"], task["routing_key"]) for task in ours.values()}
        wanted = {
            (f"{INSTALLATION}.orders.cancel_user_orders", "SUCCESS", f"{INSTALLATION}.orders"),
            (f"{INSTALLATION}.products.restock", "SUCCESS", f"{INSTALLATION}.products"),
            (f"{INSTALLATION}.users.decide", "SUCCESS", f"{INSTALLATION}.users.outcome"),
            (f"{INSTALLATION}.orders.commit", "SUCCESS", f"{INSTALLATION}.orders.outcome"),
            (f"{INSTALLATION}.products.commit", "SUCCESS", f"{INSTALLATION}.products.outcome"),
            (f"{INSTALLATION}.users.acknowledge", "SUCCESS", f"{INSTALLATION}.users.outcome"),
        }
        return ours if wanted <= seen else None

    ours = wait_until(shown, "Flower shows the six kinds of task of the removal", within=20)
    assert {branch["task_id"] for branch in shop.branches(removal)} <= set(ours), "under the gids as their ids"


def test_flower_shows_a_refused_branch_as_failed_with_its_reason(shop: Shopkeeper) -> None:
    ada, tea = shop.add_user(), shop.add_product(stock=1)
    refused = shop.place_order(ada, {tea: 2})
    assert refused.status == 409, refused
    task_id = shop.branches(refused)[1]["task_id"]
    url = f"{shop.shop.flower_url}/api/task/info/{task_id}"
    failed = lambda: (answer := call("GET", url)).status == 200 and answer.body["state"] == "FAILURE" and answer  # noqa: E731
    answer = wait_until(failed, "Flower shows the failed branch", within=20)
    assert (answer.body["name"], answer.body["routing_key"]) == (
        INSTALLATION.branch_task("products.take_stock"),
        INSTALLATION.branch_queue("products"),
    )
    assert "insufficient_stock" in answer.body["exception"]


def test_flower_shows_every_worker_with_its_queue(shop: Shopkeeper) -> None:
    def queues() -> set[str] | None:
        workers = call("GET", f"{shop.shop.flower_url}/api/workers?refresh=1").body
        found = {queue["name"] for worker in workers.values() for queue in worker.get("active_queues", ())}
        return found if len(found) >= 6 else None

    found = wait_until(queues, "Flower knows all six queues", within=20)
    assert found == set(QUEUE_NAMES)


def test_flowers_history_outlasts_its_restarts(shop: Shopkeeper) -> None:
    """515 tasks before its restart, none after it: that is what it was."""
    ada, tea = shop.add_user(), shop.add_product()
    shop.placed_order(ada, {tea: 1})
    removal = shop.remove_user(ada)
    assert shop.settled(removal) == "committed"
    history = shop.shop.state / "flower" / "history"
    wait_until(lambda: removal.transaction in seen(shop), "Flower has seen the removal", within=20)
    wait_until(lambda: history.exists() and removal.transaction.encode() in history.read_bytes(), "it is written down")
    shop.kill("flower")
    shop.wait_ready("flower")
    assert removal.transaction in seen(shop), "after a kill"
    with shop.down("flower"):
        shop.placed_order(shop.add_user(), {tea: 1})
    assert removal.transaction in seen(shop), "after a stop"
    with shop.down("flower"):
        history.write_bytes(b"no history")
    assert call("GET", f"{shop.shop.flower_url}/api/tasks").status == 200, "what can't be read stops nobody"
    assert history.with_name("history.unreadable").read_bytes() == b"no history"


def test_flower_says_nothing_alarming_when_it_starts_before_the_workers(shop: Shopkeeper) -> None:
    with shop.down("flower", *WORKERS):
        before = len(shop.shop.log_of("flower"))
        shop.shop.bring_up("flower")
        asked = call("GET", f"{shop.shop.flower_url}/api/workers?refresh=1")
        assert asked.status == 200, asked
    said = shop.shop.log_of("flower")[before:]
    assert not [line for line in said.splitlines() if line.startswith(("[W", "[E", "[C")) or "failed" in line], said


def seen(shop: Shopkeeper) -> str:
    """All that Flower knows of the newest thousand tasks, as text."""
    return str(call("GET", f"{shop.shop.flower_url}/api/tasks?limit=1000&sort_by=-received").body)
