"""The table of calls in section 5 of the design, row by row: the shape of each answer, and its headers."""

from __future__ import annotations

import re
import uuid
from typing import Any

import pytest
from eager_shop import Answer, EagerShop

from celery_config.manifest import SERVICES
from tests.installation import INSTALLATION

RFC_3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")

BRANCH_MEMBERS = {
    "name",
    "attempt",
    "queue",
    "task_id",
    "status",
    "vote",
    "outcome",
    "dispatched_at",
    "decided_at",
    "settled_at",
}
TRANSACTION_MEMBERS = {
    "id",
    "url",
    "kind",
    "state",
    "decision",
    "attempt",
    "leader",
    "settled",
    "created_at",
    "deadline",
    "decided_at",
    "settled_at",
    "quarantined_at",
    "cause",
    "error",
    "branches",
}


# ---- users


CHECKS = (
    *("database", "migrated", "own_database", "writable", "able_to_prepare"),
    *("bounded_waits", "isolation", "durable", "clock"),
)
#: kind → the service that coordinates it
COORDINATORS = {"remove_user": "users", "cancel_order": "orders", "place_order": "orders"}


def test_a_new_user_is_answered_with_201_and_its_location(shop: EagerShop) -> None:
    answer = shop.call("users", "POST", "/users", {"name": "Ada", "email": "ada@shop.example"}).expect(201)
    user = answer.json
    assert answer.headers["Location"] == f"/users/{user['id']}"
    assert RFC_3339.fullmatch(user.pop("created_at")), answer
    assert user == {"id": 1, "name": "Ada", "email": "ada@shop.example", "status": "active"}
    assert shop.get("users", answer.headers["Location"])["email"] == "ada@shop.example"


def test_users_are_listed_in_order(shop: EagerShop) -> None:
    ids = [shop.add_user(name) for name in ("Ada", "Grace", "Mary")]
    assert [user["id"] for user in shop.get("users", "/users")] == ids


def test_a_user_is_changed_in_part(shop: EagerShop, user: int) -> None:
    answer = shop.call("users", "PATCH", f"/users/{user}", {"name": "Ada Lovelace"}).expect(200)
    assert answer.json["name"] == "Ada Lovelace"
    assert answer.json["email"] == shop.get("users", f"/users/{user}")["email"]


def test_a_user_may_change_the_case_of_their_own_e_mail(shop: EagerShop) -> None:
    user = shop.add_user(email="ada@shop.example")
    answer = shop.call("users", "PATCH", f"/users/{user}", {"email": "Ada@Shop.example"}).expect(200)
    assert answer.json["email"] == "Ada@Shop.example"


def test_the_e_mail_of_a_removed_user_is_free_again(shop: EagerShop) -> None:
    shop.remove_user(shop.add_user(email="ada@shop.example")).expect(200)
    shop.add_user(email="ada@shop.example")


def test_names_in_any_script_are_kept_as_they_are(shop: EagerShop) -> None:
    for name in ("Zoë", "李小龍", "O'Brien; DROP TABLE users", "🫖", "علي"):
        user = shop.call("users", "POST", "/users", {"name": name, "email": f"u{hash(name)}@shop.example"}).expect(201)
        assert shop.get("users", f"/users/{user.json['id']}")["name"] == name


# ---- products


def test_a_new_product_is_answered_with_201_and_its_location(shop: EagerShop) -> None:
    body = {"name": "teapot", "price": 1999, "stock": 5, "capacity": 8}
    answer = shop.call("products", "POST", "/products", body).expect(201)
    product = answer.json
    assert answer.headers["Location"] == f"/products/{product['id']}"
    assert RFC_3339.fullmatch(product.pop("created_at")), answer
    assert product == {"id": 1, **body}


def test_a_product_has_no_capacity_unless_it_is_said(shop: EagerShop) -> None:
    body = {"name": "teapot", "price": 0, "stock": 0}
    assert shop.call("products", "POST", "/products", body).expect(201).json["capacity"] is None


def test_a_product_is_changed_in_part(shop: EagerShop, teapot: int) -> None:
    def change(**body: Any) -> dict[str, Any]:
        return shop.call("products", "PATCH", f"/products/{teapot}", body).expect(200).json

    assert change(price=5)["price"] == 5
    assert change(capacity=10)["capacity"] == 10
    assert change(capacity=None)["capacity"] is None
    product = change(name="kettle")
    assert (product["name"], product["price"], product["stock"]) == ("kettle", 5, 10)


def test_stock_is_put_in_and_taken_out(shop: EagerShop, teapot: int) -> None:
    assert shop.adjust_stock(teapot, 5).expect(200).json["stock"] == 15
    assert shop.adjust_stock(teapot, -15).expect(200).json["stock"] == 0
    assert shop.adjust_stock(teapot, 0).expect(200).json["stock"] == 0


# ---- orders


def test_a_placed_order_is_answered_with_201_its_location_and_its_transaction(
    shop: EagerShop, user: int, teapot: int
) -> None:
    kettle = shop.add_product("kettle", price=500)
    answer = shop.ask_to_place_order(user, {teapot: 2, kettle: 1}).expect(201)
    order = answer.json["order"]
    assert answer.headers["Location"] == f"/orders/{order['id']}"
    assert answer.headers["Vary"] == "Prefer"
    assert order == shop.get("orders", answer.headers["Location"])
    assert RFC_3339.fullmatch(order.pop("created_at")), answer
    assert order == {
        "id": 1,
        "user_id": user,
        "status": "open",
        "total": 2 * 1999 + 500,
        "lines": [
            {"product_id": teapot, "quantity": 2, "unit_price": 1999},
            {"product_id": kettle, "quantity": 1, "unit_price": 500},
        ],
    }
    check_committed(answer, "place_order", ["users.hold_active_user", "products.take_stock"])


def test_the_lines_of_an_order_keep_the_order_in_which_they_were_sent(shop: EagerShop, user: int, teapot: int) -> None:
    kettle = shop.add_product("kettle")
    order = shop.place_order(user, {kettle: 1, teapot: 2})
    lines = shop.get("orders", f"/orders/{order}")["lines"]
    assert [line["product_id"] for line in lines] == [kettle, teapot]


def test_orders_are_listed_by_user_and_by_status(shop: EagerShop, user: int, teapot: int) -> None:
    other = shop.add_user("Grace")
    first, second, third = (shop.place_order(u, {teapot: 1}) for u in (user, other, user))
    shop.fulfil(first).expect(200)

    def listed(query: str) -> list[int]:
        return [order["id"] for order in shop.get("orders", f"/orders{query}")]

    assert listed("") == [first, second, third]
    assert listed(f"?user_id={user}") == [first, third]
    assert listed("?status=open") == [second, third]
    assert listed(f"?status=open&user_id={user}") == [third]
    assert listed("?status=cancelling") == []
    assert listed("?user_id=4711") == []


def test_a_fulfilled_order_is_answered_with_200(shop: EagerShop, user: int, teapot: int) -> None:
    order = shop.place_order(user, {teapot: 2})
    answer = shop.fulfil(order).expect(200)
    assert answer.json["status"] == "fulfilled"
    assert shop.stock_of(teapot) == 8


def test_a_cancelled_order_is_answered_with_200_the_order_and_its_transaction(
    shop: EagerShop, user: int, teapot: int
) -> None:
    order = shop.place_order(user, {teapot: 2})
    answer = shop.cancel(order).expect(200)
    assert answer.json["order"] == shop.get("orders", f"/orders/{order}")
    assert answer.json["order"]["status"] == "cancelled"
    assert "Location" not in answer.headers
    check_committed(answer, "cancel_order", ["products.restock"])


def test_a_removed_user_is_answered_with_200_and_the_transaction_alone(shop: EagerShop, user: int) -> None:
    answer = shop.remove_user(user).expect(200)
    assert set(answer.json) == {"transaction"}
    check_committed(answer, "remove_user", ["orders.cancel_user_orders", "products.restock"])


def check_committed(answer: Answer, kind: str, branches: list[str]) -> None:
    """The transaction of an answer, with every branch's task id, status, vote and times."""
    transaction = answer.json["transaction"]
    assert set(transaction) == TRANSACTION_MEMBERS, answer
    id = transaction["id"]
    assert str(uuid.UUID(id)) == id
    assert transaction["url"] == f"/transactions/{id}", answer
    assert transaction["kind"] == kind, answer
    assert (transaction["state"], transaction["decision"], transaction["attempt"]) == ("committed", "committed", 1)
    assert (transaction["cause"], transaction["error"]) == (None, None), answer
    assert transaction["settled"] is True, answer
    times = ("created_at", "decided_at", "settled_at", "deadline")
    assert all(RFC_3339.fullmatch(transaction[name]) for name in times), answer
    assert transaction["created_at"] <= transaction["decided_at"] <= transaction["settled_at"], answer
    assert [branch["name"] for branch in transaction["branches"]] == branches, answer
    for branch in transaction["branches"]:
        assert set(branch) == BRANCH_MEMBERS, answer
        assert branch["task_id"] == f"{INSTALLATION}:{COORDINATORS[kind]}.{kind}:{id}:1:{branch['name']}", answer
        assert branch["queue"] == INSTALLATION.branch_queue(branch["name"].partition(".")[0]), answer
        seen = (branch["status"], branch["vote"], branch["outcome"], branch["attempt"])
        assert seen == ("SUCCESS", "yes", "commit", 1), answer
        assert branch["dispatched_at"] <= branch["decided_at"] <= branch["settled_at"], answer


# ---- transactions


def test_each_service_shows_the_transactions_that_it_coordinates(shop: EagerShop, user: int, teapot: int) -> None:
    placed = shop.ask_to_place_order(user, {teapot: 1}).expect(201).json["transaction"]
    removed = shop.remove_user(user).expect(200).json["transaction"]
    assert shop.get("orders", "/transactions") == [placed]
    assert shop.get("users", "/transactions") == [removed]
    assert shop.get("products", "/transactions") == []
    assert shop.get("orders", placed["url"]) == placed
    shop.call("users", "GET", placed["url"]).problem(404, "not-found")


def test_transactions_are_listed_newest_first_and_by_state(shop: EagerShop, user: int, teapot: int) -> None:
    first = shop.ask_to_place_order(user, {teapot: 1}).expect(201).json["transaction"]["id"]
    refused = shop.ask_to_place_order(user, {teapot: 1000}).expect(409).json["transaction"]["id"]
    last = shop.ask_to_place_order(user, {teapot: 1}).expect(201).json["transaction"]["id"]

    def listed(query: str = "") -> list[str]:
        return [transaction["id"] for transaction in shop.get("orders", f"/transactions{query}")]

    assert listed() == [last, refused, first]
    assert listed("?state=committed") == [last, first]
    assert listed("?state=aborted") == [refused]
    assert listed("?state=preparing") == []
    assert listed("?state=quarantined") == []


def test_an_undecided_transaction_shows_how_far_its_branches_are(shop: EagerShop, user: int, teapot: int) -> None:
    record = shop.begin("orders", "place_order", user_id=user, lines=[{"product_id": teapot, "quantity": 1}])
    shop.prepare(shop.gids(record)[0], shop.handed_on(record))
    answer = shop.call("orders", "GET", f"/transactions/{record.id}").expect(200)
    assert answer.headers["Retry-After"] == "1"
    assert (answer.json["state"], answer.json["decision"], answer.json["settled"]) == ("preparing", None, False)
    assert [branch["status"] for branch in answer.json["branches"]] == ["SUCCESS", "PENDING"], answer
    assert [branch["vote"] for branch in answer.json["branches"]] == [None, None], answer
    assert [t["id"] for t in shop.get("orders", "/transactions?state=preparing")] == [str(record.id)]
    shop.recover()


def test_an_aborted_transaction_shows_who_said_no_and_why(shop: EagerShop, user: int, teapot: int) -> None:
    id = shop.ask_to_place_order(user, {teapot: 11}).expect(409).json["transaction"]["id"]
    transaction = shop.transaction("orders", id)
    assert (transaction["state"], transaction["decision"], transaction["settled"]) == ("aborted", "aborted", True)
    assert transaction["cause"]["branch"] == "products.take_stock"
    assert transaction["cause"]["reason"] == "insufficient_stock"
    assert [(b["status"], b["vote"], b["outcome"]) for b in transaction["branches"]] == [
        ("SUCCESS", "yes", "rollback"),
        ("FAILURE", "no", "rollback"),
    ]


# ---- how long to wait


def test_a_client_who_prefers_not_to_wait_gets_202_and_where_to_look(shop: EagerShop, user: int, teapot: int) -> None:
    order = shop.place_order(user, {teapot: 1})
    for answer in (
        shop.ask_to_place_order(user, {teapot: 1}, Prefer="respond-async"),
        shop.cancel(order, Prefer="respond-async"),
        shop.remove_user(user, Prefer="respond-async"),
    ):
        answer.expect(202)
        transaction = answer.json["transaction"]
        assert answer.headers["Location"] == transaction["url"], answer
        assert answer.headers["Preference-Applied"] == "respond-async", answer
        assert answer.headers["Vary"] == "Prefer", answer
        assert int(answer.headers["Retry-After"]) >= 1, answer
        assert transaction["state"] == "preparing", answer
        assert set(transaction) == TRANSACTION_MEMBERS, answer


@pytest.mark.parametrize(
    ("prefer", "applied"),
    [
        ("wait=3", "wait=3"),
        ("WAIT=3", "wait=3"),
        ('wait="3"', "wait=3"),
        ("wait=99999", "wait=30"),
        ("respond-async, wait=2", "respond-async, wait=2"),
        ("handling=lenient, wait=1", "wait=1"),
    ],
)
def test_the_answer_says_which_preference_was_applied(shop: EagerShop, user: int, prefer: str, applied: str) -> None:
    answer = shop.remove_user(user, Prefer=prefer).expect(200)
    assert answer.headers["Preference-Applied"] == applied


def test_a_preference_that_nobody_knows_is_ignored(shop: EagerShop, user: int) -> None:
    answer = shop.remove_user(user, Prefer="return=minimal").expect(200)
    assert "Preference-Applied" not in answer.headers


def test_what_is_not_decided_within_the_wait_is_answered_with_202_and_decided_later(
    shop: EagerShop, user: int, teapot: int
) -> None:
    order = shop.place_order(user, {teapot: 4})
    with shop.post.loses():
        answer = shop.remove_user(user, Prefer="wait=1").expect(202)
    assert answer.headers["Location"] == answer.json["transaction"]["url"]
    assert answer.headers["Preference-Applied"] == "wait=1"
    assert shop.status_of_user(user) == "removing"
    shop.recover()
    assert shop.get("users", answer.headers["Location"])["state"] == "committed"
    assert shop.status_of_user(user) is None
    assert shop.orders_of(user) == {order: "cancelled"}
    assert shop.stock_of(teapot) == 10


def test_what_was_accepted_while_the_broker_was_away_is_finished_when_it_is_back(
    shop: EagerShop, user: int, teapot: int
) -> None:
    with shop.post.refuses():
        answer = shop.ask_to_place_order(user, {teapot: 4}, Prefer="respond-async").expect(202)
        transaction = shop.transaction("orders", answer.json["transaction"]["id"])
        assert transaction["state"] == "preparing"
        assert "broker" in transaction["error"]
        shop.time_passes(5)
        assert shop.sweep() == 1
        assert shop.orders_of(user) == {}
    shop.recover()
    assert shop.transaction("orders", transaction["id"])["state"] == "committed"
    assert list(shop.orders_of(user).values()) == ["open"]
    assert shop.stock_of(teapot) == 6


def test_a_broker_that_is_away_does_not_use_up_attempts(shop: EagerShop, user: int, teapot: int) -> None:
    with shop.post.refuses():
        id = shop.ask_to_place_order(user, {teapot: 1}, Prefer="respond-async").expect(202).json["transaction"]["id"]
        for _ in range(5):
            shop.time_passes(8)
            shop.sweep()
    shop.recover()
    transaction = shop.transaction("orders", id)
    assert (transaction["state"], transaction["attempt"]) == ("committed", 1)


# ---- pages


def pages(shop: EagerShop, service: str, path: str) -> list[list[Any]]:
    """The ids of each page, following Link as it is."""
    found = []
    while path:
        answer = shop.call(service, "GET", path).expect(200)
        assert isinstance(answer.json, list), answer
        found.append([row["id"] for row in answer.json])
        link = re.fullmatch(r'<([^>]+)>; rel="next"', answer.headers.get("Link", ""))
        assert link or "Link" not in answer.headers, answer
        path = link[1] if link else ""
    return found


def test_lists_come_in_pages_each_with_a_link_to_the_next(shop: EagerShop) -> None:
    ids = [shop.add_user() for _ in range(5)]
    assert pages(shop, "users", "/users?limit=2") == [ids[:2], ids[2:4], ids[4:]]
    assert pages(shop, "users", "/users?limit=5") == [ids]
    assert pages(shop, "users", "/users") == [ids]


def test_a_page_has_fifty_rows_unless_it_is_said(shop: EagerShop) -> None:
    shop.query("products", "INSERT INTO products (name, price, stock) SELECT 'p', 1, 0 FROM generate_series(1, 501)")
    assert [len(page) for page in pages(shop, "products", "/products")][:2] == [50, 50]
    assert [len(page) for page in pages(shop, "products", "/products?limit=500")] == [500, 1]


def test_pages_stay_right_while_rows_are_added_and_removed(shop: EagerShop) -> None:
    ids = [shop.add_user() for _ in range(6)]
    first = shop.call("users", "GET", "/users?limit=2").expect(200)
    link = first.headers["Link"].partition(">")[0][1:]
    shop.remove_user(ids[0]).expect(200)  # read already
    shop.remove_user(ids[1]).expect(200)  # where the page ended
    shop.remove_user(ids[3]).expect(200)  # not read yet
    new = shop.add_user()
    assert pages(shop, "users", link) == [[ids[2], ids[4]], [ids[5], new]]


def test_filters_go_along_from_page_to_page(shop: EagerShop, user: int, teapot: int) -> None:
    other = shop.add_user("Grace")
    ours = []
    for _ in range(3):
        ours.append(shop.place_order(user, {teapot: 1}))
        shop.place_order(other, {teapot: 1})
    assert pages(shop, "orders", f"/orders?user_id={user}&status=open&limit=1") == [[one] for one in ours]


def test_transactions_are_paged_from_the_newest_on_while_new_ones_begin(
    shop: EagerShop, user: int, teapot: int
) -> None:
    def place() -> str:
        return shop.ask_to_place_order(user, {teapot: 1}).expect(201).json["transaction"]["id"]

    old = [place() for _ in range(4)]
    first = shop.call("orders", "GET", "/transactions?limit=2").expect(200)
    assert [t["id"] for t in first.json] == [old[3], old[2]]
    place()
    link = first.headers["Link"].partition(">")[0][1:]
    assert pages(shop, "orders", link) == [[old[1], old[0]]]


# ---- health


@pytest.mark.parametrize("service", SERVICES)
def test_a_process_that_answers_is_alive_and_ready(shop: EagerShop, service: str) -> None:
    assert shop.get(service, "/livez") == {"status": "alive"}
    ready = shop.call(service, "GET", "/readyz").expect(200)
    assert ready.json == {
        "status": "ready",
        "checks": dict.fromkeys(CHECKS, "ok"),
    }
    assert ready.headers["Cache-Control"] == "no-store"
