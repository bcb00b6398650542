"""What the documents have a reader save and type works, word for word, and shows what they say that it shows."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa
from document_reader import Reader
from documents import ROOT

from local_servers.application import Application

#: The limit is for what hangs: on a machine that does much else a test takes minutes.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

TUTORIAL = ROOT / "docs" / "tutorial.md"
TEST_A_BRANCH = ROOT / "docs" / "how-to" / "test-a-branch.md"
ENGINE = ROOT / "engine" / "README.md"


def rows(servers: Application, database: str, query: str) -> list[tuple[object, ...]]:
    engine = sa.create_engine(servers.database_url(database).replace("postgresql://", "postgresql+psycopg2://"))
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(sa.text(query))]


def follow(reader: Reader, document: Path) -> None:
    reader.save(document)
    seen = reader.follow(document)
    assert len(seen) > 5
    wrong = [
        f"{typed.command}\n  shows {shown!r}\n  not   {typed.shown!r}" for typed, shown in seen if shown != typed.shown
    ]
    assert not wrong, "\n".join([*wrong, reader.said()])


def test_the_tutorial_commits_refuses_and_survives_a_kill(reader: Reader, servers: Application) -> None:
    follow(reader, TUTORIAL)
    assert rows(servers, "shop", "SELECT idempotency_key, state FROM transactions ORDER BY created_at") == [
        ("monday", "committed"),
        ("tuesday", "aborted"),
        ("wednesday", "committed"),
    ]
    assert rows(servers, "bank", "SELECT cents FROM accounts") == [(5000,)]
    assert rows(servers, "shop", "SELECT sum(cents) FROM orders") == [(5000,)]
    assert rows(servers, "bank", "SELECT gid FROM pg_prepared_xacts") == []


def test_the_example_of_the_engines_readme_commits(reader: Reader, servers: Application) -> None:
    follow(reader, ENGINE)
    assert rows(servers, "shop", "SELECT state FROM transactions ORDER BY created_at") == [("committed",), ("aborted",)]
    assert rows(servers, "bank", "SELECT cents FROM accounts") == [(7000,)]
    assert rows(servers, "shop", "SELECT cents FROM orders") == [(3000,)]


def test_the_tests_of_a_branch_pass(reader: Reader) -> None:
    reader.save(TUTORIAL)
    follow(reader, TEST_A_BRANCH)
