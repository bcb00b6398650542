"""What can't succeed is said once, after one attempt, and in words for everybody; its cause is for the operator."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import psycopg2
import pytest
import sqlalchemy as sa
from eager_line import all_placed, ends
from eager_postgres import database_url
from eager_shop import Answer, EagerShop

from atomic_commit import TransactionRecord
from atomic_commit.coordinator.decide import Decider
from atomic_commit.declare import BranchDeclaration
from http_api.problem_types import PROBLEM_TYPES
from local_servers.postgres import Postgres
from service_roles.main import main

#: What only the log and the operator may read: words of the cause, SQL, names of classes.
FOR_OPERATORS = (
    "secret",
    "violates",
    "psycopg2",
    "sqlalchemy",
    "Error",
    "Violation",
    "UPDATE",
    "DELETE",
    "SELECT",
    "SQL",
)


@contextmanager
def done(shop: EagerShop, service: str, do: str, undo: str) -> Iterator[None]:
    """A change of somebody's own to the service's tables, while the block runs."""
    shop.query_outside(service, do)
    try:
        yield
    finally:
        shop.query_outside(service, undo)


def trigger(shop: EagerShop, service: str, when: str, body: str, kind: str = "TRIGGER", how: str = "") -> Any:
    return done(
        shop,
        service,
        f"CREATE FUNCTION own() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body}; RETURN NULL; END $$;"
        f"CREATE {kind} own AFTER {when} {how} FOR EACH ROW EXECUTE FUNCTION own()",
        "DROP FUNCTION own CASCADE",
    )


RAISE = "RAISE EXCEPTION 'secret words'"


def foreign_key(shop: EagerShop, patch: pytest.MonkeyPatch) -> Any:
    return done(
        shop,
        "users",
        "CREATE TABLE secret_reviews AS SELECT id AS user_id FROM users;"
        "ALTER TABLE secret_reviews ADD FOREIGN KEY (user_id) REFERENCES users",
        "DROP TABLE secret_reviews",
    )


def deferred_at_the_coordinator(shop: EagerShop, patch: pytest.MonkeyPatch) -> Any:
    """It raises at COMMIT, when the local change seemed to have succeeded."""
    return trigger(shop, "users", "DELETE ON users", RAISE, "CONSTRAINT TRIGGER", "DEFERRABLE INITIALLY DEFERRED")


def deferred_in_a_branch(shop: EagerShop, patch: pytest.MonkeyPatch) -> Any:
    """It raises at PREPARE TRANSACTION."""
    return trigger(shop, "orders", "UPDATE ON orders", RAISE, "CONSTRAINT TRIGGER", "DEFERRABLE INITIALLY DEFERRED")


def trigger_that_raises(shop: EagerShop, patch: pytest.MonkeyPatch) -> Any:
    return trigger(shop, "products", "UPDATE ON products", RAISE)


def trigger_that_notifies(shop: EagerShop, patch: pytest.MonkeyPatch) -> Any:
    """PostgreSQL can't prepare after NOTIFY."""
    return trigger(shop, "products", "UPDATE ON products", "PERFORM pg_notify('secret', 'news')")


def unknown_column(shop: EagerShop, patch: pytest.MonkeyPatch) -> Any:
    return done(
        shop,
        "products",
        "ALTER TABLE products RENAME COLUMN stock TO secret_stock",
        "ALTER TABLE products RENAME COLUMN secret_stock TO stock",
    )


@contextmanager
def bug_in_a_branch(shop: EagerShop, patch: pytest.MonkeyPatch) -> Iterator[None]:
    def call(branch: BranchDeclaration, *_: Any) -> None:
        raise TypeError("secret operand")

    with patch.context() as own:
        own.setattr(BranchDeclaration, "call", call)
        yield


EVERY_DEFECT = (
    foreign_key,
    deferred_at_the_coordinator,
    deferred_in_a_branch,
    trigger_that_raises,
    trigger_that_notifies,
    unknown_column,
    bug_in_a_branch,
)


@pytest.fixture(params=EVERY_DEFECT, ids=lambda make: make.__name__)
def defect(
    shop: EagerShop, order: int, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    make: Callable[..., Any] = request.param
    with ExitStack() as stack:
        stack.enter_context(make(shop, monkeypatch))
        yield


def tells_the_cause(text: str) -> bool:
    return any(word in text for word in ("secret", "or NOTIFY", "UndefinedColumn"))


def nothing_for_operators_in(answer: Answer) -> None:
    text = answer.response.get_data(as_text=True) + str(answer.headers)
    assert not [word for word in FOR_OPERATORS if word in text], answer


@pytest.mark.loud
@pytest.mark.usefixtures("defect")
def test_what_cannot_succeed_is_a_500_with_its_transaction_after_one_attempt(
    shop: EagerShop, user: int, order: int, caplog: pytest.LogCaptureFixture
) -> None:
    answer = shop.remove_user(user, Idempotency_Key="once")
    problem = answer.problem(500, "internal-error")
    transaction = problem["transaction"]
    assert (transaction["state"], transaction["attempt"], transaction["settled"]) == ("aborted", 1, True), answer
    assert transaction["cause"]["cause"] == problem["reason"] == "defect"
    assert "Retry-After" not in answer.headers
    assert "Nothing was changed" in problem["detail"]
    assert "transaction" in PROBLEM_TYPES["internal-error"].explanation
    nothing_for_operators_in(answer)
    nothing_for_operators_in(shop.call("users", "GET", transaction["url"]).expect(200))
    nothing_for_operators_in(shop.call("users", "GET", "/transactions").expect(200))
    assert tells_the_cause(caplog.text)
    assert shop.remove_user(user, Idempotency_Key="once").problem(500, "internal-error") == problem
    assert (shop.status_of_user(user), shop.status_of_order(order)) == ("active", "open")


@pytest.mark.loud
@pytest.mark.usefixtures("defect")
def test_its_cause_is_in_the_operators_listing(
    shop: EagerShop, user: int, migrated: Postgres, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    transaction = shop.remove_user(user).problem(500, "internal-error")["transaction"]["id"]
    monkeypatch.setenv("DATABASE_URL", database_url(migrated, "users"))
    for words in (["--failed"], ["--failed", "--json"]):
        capsys.readouterr()
        assert main("users_service", ["transactions", *words]) == 0
        told = capsys.readouterr().out
        assert transaction in told
        assert tells_the_cause(told), told
    assert json.loads(told)[0]["cause"]["cause"] == "defect"


@pytest.mark.loud
def test_a_defect_of_one_who_shares_an_attempt_is_not_the_end_of_the_others(
    shop: EagerShop, user: int, teapot: int
) -> None:
    """PREPARE fails for all of them: nobody knows because of whom."""
    kettle = shop.add_product("kettle")
    begun = all_placed(shop, (user, {teapot: 1}), (user, {kettle: 1}), (user, {teapot: 2}))
    only_kettles = "IF NEW.name = 'kettle' THEN PERFORM pg_notify('a', 'b'); END IF"
    with trigger(shop, "products", "UPDATE ON products", only_kettles):
        shop.dispatch("orders", "place_order")
        shop.recover()
    assert ends(shop, "orders", begun) == [("committed", 2), ("aborted", 2), ("committed", 2)]
    assert (shop.record("orders", begun[1].id).cause or {})["cause"] == "defect"


@pytest.mark.loud
def test_what_may_pass_still_has_its_few_attempts(
    shop: EagerShop, user: int, order: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("secret thread")

    with monkeypatch.context() as patch:
        patch.setattr(BranchDeclaration, "call", fail)
        answer = shop.remove_user(user, Prefer="respond-async").expect(202)
        for _ in range(6):
            shop.time_passes(8)
            shop.sweep()
    url = answer.json["transaction"]["url"]
    seen = shop.call("users", "GET", url).expect(200)
    assert (seen.json["state"], seen.json["attempt"], seen.json["cause"]["cause"]) == ("aborted", 3, "failed"), seen
    nothing_for_operators_in(seen)


@pytest.mark.loud
@pytest.mark.leaves("undecided")
def test_the_words_of_an_error_that_nobody_expects_are_in_the_listing_and_not_in_public(
    shop: EagerShop,
    removal: TransactionRecord,
    migrated: Postgres,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("secret thread")

    with monkeypatch.context() as patch:
        patch.setattr(Decider, "decide", fail)
        shop.time_passes(8)
        shop.sweep()
    seen = shop.call("users", "GET", f"/transactions/{removal.id}").expect(200)
    assert seen.json["error"].startswith("unexpected")
    nothing_for_operators_in(seen)
    monkeypatch.setenv("DATABASE_URL", database_url(migrated, "users"))
    assert main("users_service", ["transactions"]) == 0
    assert "RuntimeError: secret thread" in capsys.readouterr().out


def test_a_check_that_fails_tells_its_words_to_the_log(shop: EagerShop, caplog: pytest.LogCaptureFixture) -> None:
    with shop.apps["users"].app_context():
        engine = shop.apps["users"].extensions["sqlalchemy"].engine
    engine.dispose()

    def away(*_: Any) -> None:
        raise psycopg2.OperationalError("secret host is unreachable")

    sa.event.listen(engine, "do_connect", away)
    try:
        answer = shop.call("users", "GET", "/readyz")
    finally:
        sa.event.remove(engine, "do_connect", away)
    assert answer.problem(503, "unavailable")["checks"]["database"].startswith("failed: ")
    nothing_for_operators_in(answer)
    assert "secret host" in caplog.text
