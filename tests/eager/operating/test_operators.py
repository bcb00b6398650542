"""What a person on call asks and does on a service's command line."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from eager_command import Command, Said
from eager_shop import EagerShop
from werkzeug.serving import make_server

from atomic_commit import TransactionRecord
from atomic_commit.cli.tables import age, as_table
from local_servers.postgres import Postgres
from service_roles.main import main
from tests.installation import INSTALLATION


@pytest.fixture
def undecided(shop: EagerShop, user: int) -> TransactionRecord:
    return shop.begin("users", "remove_user", user_id=user)


@pytest.fixture
def owed(shop: EagerShop) -> TransactionRecord:
    """Decided, and the participants don't know."""
    removal = shop.begin("users", "remove_user", user_id=shop.add_user("Grace"))
    handed_on = shop.prepare_all(removal)
    with shop.post.loses():
        shop.atomic("users").coordinator.decide(removal.id, 1, handed_on)
    return removal


@pytest.fixture
def quarantined(shop: EagerShop) -> TransactionRecord:
    removal = shop.begin("users", "remove_user", user_id=shop.add_user("Edsger"))
    shop.atomic("users").coordinator.quarantine(removal.id, "the branch\nis not there")
    return removal


@pytest.fixture
def settled(shop: EagerShop) -> str:
    id: str = shop.remove_user(shop.add_user("Barbara")).expect(200).json["transaction"]["id"]
    return id


# ---- transactions


@pytest.mark.loud
@pytest.mark.leaves("undecided", "prepared")
def test_what_is_not_settled_is_seen_at_a_glance_the_oldest_first(
    shop: EagerShop,
    command: Command,
    settled: str,
    undecided: TransactionRecord,
    owed: TransactionRecord,
    quarantined: TransactionRecord,
) -> None:
    said = command("users", "transactions")
    first, heads, *rows = said.lines
    assert said.code == 0
    assert first.startswith("1 undecided, 1 owed, 1 quarantined; the oldest was accepted "), first
    assert heads.split() == ["TRANSACTION", "KIND", "STATE", "ATTEMPT", "AGE", "OWED", "ERROR"]
    assert [row.split()[0] for row in rows] == [str(r.id) for r in (undecided, owed, quarantined)], said.out
    assert "commit orders.cancel_user_orders (attempt 1), commit products.restock (attempt 1)" in rows[1]
    assert "preparing, quarantined for " in rows[2], rows[2]
    assert rows[2].endswith("the branch"), "the first line of the error: a row stays a row"


@pytest.mark.loud
@pytest.mark.leaves("undecided", "prepared")
@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["--state", "preparing"], ["undecided"]),
        (["--state", "committed"], ["owed"]),
        (["--state", "aborted"], []),
        (["--state", "quarantined"], ["quarantined"]),
        (["--quarantined"], ["quarantined"]),
        (["--limit", "2"], ["undecided", "owed"]),
        (["--older-than", "100"], ["owed"]),
        (["--older-than", "100", "--state", "preparing"], []),
    ],
)
def test_the_listing_is_narrowed_by_its_options_and_read_by_programs(
    shop: EagerShop,
    command: Command,
    settled: str,
    undecided: TransactionRecord,
    owed: TransactionRecord,
    quarantined: TransactionRecord,
    words: list[str],
    found: list[str],
) -> None:
    if "--older-than" in words:
        shop.query(
            "users", "UPDATE transactions SET created_at = now() - interval '101 seconds' WHERE id = :id", id=owed.id
        )
    names = {str(undecided.id): "undecided", str(owed.id): "owed", str(quarantined.id): "quarantined"}
    listed = json.loads(command("users", "transactions", "--json", *words).out)
    assert [names[each["id"]] for each in listed] == found
    for each in listed:
        assert set(each) == {
            *("id", "kind", "state", "decision", "attempt", "age", "created_at", "quarantined_at", "owed", "error"),
            "cause",
        }
        assert (each["quarantined_at"] is not None) is (names[each["id"]] == "quarantined")
        assert len(each["owed"]) == (2 if names[each["id"]] == "owed" else 0)


def test_a_quiet_service_says_so_in_one_line(shop: EagerShop, command: Command, settled: str) -> None:
    assert command("users", "transactions") == Said(0, "0 undecided, 0 owed, 0 quarantined\n", "")
    assert json.loads(command("users", "transactions", "--json").out) == []


@pytest.mark.parametrize(
    "words",
    [
        ["transactions", "--state", "stuck"],
        ["transactions", "--older-than", "yesterday"],
        ["transactions", "--older-than", "-1"],
        ["transactions", "--older-than", "nan"],
        ["transactions", "--limit", "0"],
        ["transactions", "--limit", "many"],
        ["release"],
        ["release", "everything"],
        ["resolve"],
        [],
    ],
)
def test_a_word_that_is_not_understood_is_told_and_nothing_is_done(
    shop: EagerShop, command: Command, words: list[str]
) -> None:
    said = command("users", *words)
    assert (said.code, said.out) == (2, "")
    assert "usage: python -m users_service" in said.err
    assert len(words) < 2 or words[-1] in said.err


def test_a_database_that_is_away_is_told_in_one_line(
    command: Command, migrated: Postgres, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", migrated.admin_url("nowhere"))
    assert main("users_service", ["transactions"]) == 1
    told = capsys.readouterr().err
    assert told.startswith("users_service transactions: ")
    assert "nowhere" in told
    assert len(told.splitlines()) == 1


@pytest.mark.parametrize("query", ["state=stuck", "settled=perhaps", "settled=", "quarantined=true", "settled=TRUE"])
def test_a_filter_that_is_not_understood_is_refused_over_http_too(shop: EagerShop, query: str) -> None:
    problem = shop.call("users", "GET", f"/transactions?{query}").problem(422, "validation")
    assert problem["errors"], problem


def test_the_settled_and_the_unsettled_are_listed_over_http(
    shop: EagerShop, settled: str, undecided: TransactionRecord
) -> None:
    def listed(query: str) -> list[str]:
        return [transaction["id"] for transaction in shop.get("users", f"/transactions?{query}")]

    assert listed("settled=true") == [settled]
    assert listed("settled=false") == [str(undecided.id)]
    assert listed("settled=false&state=committed") == []
    assert listed("settled=true&state=preparing") == []
    shop.recover()


# ---- release


@pytest.mark.loud
def test_a_released_transaction_is_settled_by_recovery(
    shop: EagerShop, command: Command, quarantined: TransactionRecord
) -> None:
    said = command("users", "release", str(quarantined.id))
    assert said.code == 0
    assert str(quarantined.id) in said.out
    assert "the branch" in said.out, "why it was quarantined"
    shop.recover()
    assert shop.transaction("users", quarantined.id)["state"] == "committed"


@pytest.mark.loud
def test_what_is_not_quarantined_is_not_released_and_the_line_says_what_it_is(
    shop: EagerShop, command: Command, settled: str, quarantined: TransactionRecord
) -> None:
    before = shop.everything()
    for id, words in (
        (settled, "is not quarantined, it is committed and settled"),
        (str(uuid4()), "this service coordinates no transaction"),
    ):
        said = command("users", "release", id)
        assert (said.code, said.out) == (1, "")
        assert said.err.startswith("nothing done: ")
        assert words in said.err
    assert shop.everything() == before
    assert command("orders", "release", str(quarantined.id)).code == 1, "it is another service's"
    assert command("users", "release", str(quarantined.id)).code == 0
    again = command("users", "release", str(quarantined.id))
    assert again.code == 1
    assert "it is preparing and not settled" in again.err
    shop.recover()


# ---- in doubt


@pytest.fixture
def users_over_http(shop: EagerShop) -> Iterator[str]:
    """The users service on a port of this machine."""
    server = make_server("127.0.0.1", 0, shop.apps["users"], threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def foreign(shop: EagerShop) -> Iterator[str]:
    """Prepared in the orders database by somebody else, under a name that almost looks like ours."""
    name = f"{INSTALLATION}:users.remove_user:{uuid4()}:01:orders.cancel_user_orders"
    connection = shop.engines["orders"].raw_connection()
    cursor = connection.cursor()
    cursor.execute("CREATE TEMP TABLE IF NOT EXISTS t (x int)")
    connection.rollback()
    cursor.execute("SELECT 1")
    cursor.execute(f"PREPARE TRANSACTION '{name}'")
    connection.detach()
    connection.close()
    yield name
    shop.query_outside("orders", f"ROLLBACK PREPARED '{name}'")


@pytest.mark.leaves("prepared", "unsettled")
def test_what_stands_prepared_is_listed_with_what_its_coordinator_says(
    shop: EagerShop, command: Command, owed: TransactionRecord, users_over_http: str, foreign: str
) -> None:
    said = command("orders", "in-doubt", "--ask", users_over_http + "/")
    first, heads, row, empty, title, _, other = said.lines
    assert said.code == 0
    assert first == "1 in doubt in this database, 1 prepared by others"
    assert heads.split() == ["AGE", "TRANSACTION", "ATTEMPT", "BRANCH", "COORDINATOR"]
    assert f"{owed.id}  1        orders.cancel_user_orders  {users_over_http}/: committed, to be told" in row, said.out
    assert (empty, title) == ("", "not ours, never touched:")
    assert other.endswith(foreign)
    assert len(shop.prepared()) == 3, "looking resolves nothing"


@pytest.mark.loud
@pytest.mark.leaves("prepared", "undecided")
@pytest.mark.parametrize("case", ["undecided", "quarantined", "settled", "unknown", "away", "not a shop", "nobody"])
def test_the_coordinator_of_a_branch_in_doubt(
    shop: EagerShop, command: Command, undecided: TransactionRecord, users_over_http: str, case: str
) -> None:
    shop.prepare_all(undecided)
    url = [users_over_http]
    if case == "quarantined":
        shop.atomic("users").coordinator.quarantine(undecided.id, "look")
    elif case == "settled":
        shop.query("users", "UPDATE transactions SET state = 'aborted', settled_at = now(), next_look_at = NULL")
    elif case == "unknown":
        shop.query("users", "DELETE FROM transaction_branches")
        shop.query("users", "DELETE FROM transactions")
    elif case == "away":
        url = ["http://127.0.0.1:1"]
    elif case == "not a shop":
        url = [f"{users_over_http}/docs?"]  # a page, and not about transactions
    elif case == "nobody":
        url = []
    said = command("products", "in-doubt", *(["--ask", *url] if url else []))
    words = {
        "undecided": ": undecided",
        "quarantined": ": undecided; QUARANTINED",
        "settled": ": SETTLED as aborted, and yet it is prepared",
        "unknown": f"UNKNOWN to {users_over_http}",
        "away": "http://127.0.0.1:1 does not say (",
        "not a shop": "/docs? does not say (",
        "nobody": "ask users for /transactions/",
    }[case]
    [row] = said.lines[2:]
    assert words in row, said.out
    assert row.endswith(words) or words.endswith(("(", "/")), "there is more only where an error or an id follows"
    assert said.code == 0


def test_a_database_where_nothing_stands_prepared(command: Command) -> None:
    assert command("orders", "in-doubt") == Said(0, "0 in doubt in this database, 0 prepared by others\n", "")


# ---- how it looks


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-1, "0 s"),
        (0.9, "0 s"),
        (7.2, "7 s"),
        (60, "1 min"),
        (192, "3 min 12 s"),
        (3600, "1 h"),
        (3661, "1 h 1 min"),
        (86400 + 59, "1 d"),
        (187200, "2 d 4 h"),
    ],
)
def test_an_age_is_told_in_its_two_largest_units(seconds: float, words: str) -> None:
    assert age(seconds) == words


def test_a_table_stands_in_columns_and_shows_what_could_play_with_the_terminal() -> None:
    rows: list[Any] = [("1", "all is well"), ("22", "\x1b[2Jgone\nnot")]
    assert as_table(("A", "B"), rows) == "A   B\n1   all is well\n22  \\x1b[2Jgone\\nnot"
