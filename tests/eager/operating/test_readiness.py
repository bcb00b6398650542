"""The table of readiness in docs/operating/operations.md, row by row: the state that makes a check say no, and its
words."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
import sqlalchemy as sa
from eager_postgres import database_url, running_postgres
from eager_shop import EagerShop

from atomic_commit import Installation, Limits
from atomic_commit.postgres import clocks
from atomic_commit.postgres.clocks import OwnClock
from atomic_commit.postgres.database import engine_options
from atomic_commit.postgres.identity import Identity
from atomic_commit.postgres.readiness import checks, missing
from celery_config.installation import VARIABLE
from local_servers.postgres import Postgres
from service_roles.main import main
from service_roles.migrate import migrated
from tests.installation import INSTALLATION

OPERATIONS = Path(__file__).parents[3] / "docs" / "operating" / "operations.md"
LIMITS = Limits(lock_timeout=0.3)


@contextmanager
def asked(url: str, *, options: str = "", installation: Installation = INSTALLATION) -> Iterator[dict[str, str]]:
    """What the users service finds missing at this database; `options` come after its own, as a role's or a pooler's
    settings would."""
    given = engine_options(LIMITS, 1)
    given["connect_args"]["options"] += f" {options}"
    engine = sa.create_engine(url.replace("postgresql:", "postgresql+psycopg2:"), **given)
    try:
        yield missing(
            checks(engine, Identity(engine, installation, "users"), OwnClock(engine, LIMITS), migrated("users"))
        )
    finally:
        engine.dispose()


@pytest.fixture
def url(shop: EagerShop) -> str:
    return shop.engines["users"].url.render_as_string(hide_password=False)


def test_nothing_is_missing_where_all_is_well(url: str) -> None:
    with asked(url) as found:
        assert found == {}


@pytest.mark.parametrize(
    ("options", "check", "words"),
    [
        ("-c default_transaction_read_only=on", "writable", "read-only"),
        ("-c lock_timeout=0", "bounded_waits", "lock_timeout got lost"),
        ("-c statement_timeout=0", "bounded_waits", "statement_timeout got lost"),
        ("-c idle_in_transaction_session_timeout=0", "bounded_waits", "idle_in_transaction_session_timeout got lost"),
        ("-c default_transaction_isolation=serializable", "isolation", "serializable"),
    ],
)
def test_a_setting_that_a_role_or_a_pooler_has_changed_is_named(url: str, options: str, check: str, words: str) -> None:
    with asked(url, options=options) as found:
        assert found.keys() == {check}
        assert words in found[check]


def test_commits_that_are_not_flushed_are_named(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind a pooler the pin may be another session's."""
    monkeypatch.setattr("atomic_commit.postgres.database._FLUSH_COMMITS", "SET synchronous_commit = 'local'")
    with asked(url) as found:
        assert found.keys() == {"durable"}
        assert "synchronous_commit is local" in found["durable"]


@pytest.mark.parametrize("setting", ["fsync", "full_page_writes"])
def test_a_server_that_forgets_what_it_has_written_is_named(shop: EagerShop, url: str, setting: str) -> None:
    try:
        set_to(shop, setting, "off")
        with asked(url) as found:
            assert found.keys() == {"durable"}
            assert f"{setting} is off" in found["durable"]
    finally:
        set_to(shop, setting, "on")


def set_to(shop: EagerShop, setting: str, value: str) -> None:
    shop.query_outside("users", f"ALTER SYSTEM SET {setting} = {value}")
    shop.query_outside("users", "SELECT pg_reload_conf()")
    seen = ""
    while seen != value:
        with shop.engines["users"].connect() as connection:
            seen = connection.scalar(sa.text(f"SHOW {setting}"))


def test_a_server_that_may_not_prepare_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running_postgres(tmp_path, {"POSTGRES_MAX_PREPARED_TRANSACTIONS": "0"}) as server:
        migrated_by_main(server, monkeypatch)
        with asked(database_url(server, "users")) as found:
            assert found.keys() == {"able_to_prepare"}


def test_a_standby_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where DATABASE_URL leads to the old primary after a failover, which has become the standby."""
    with running_postgres(tmp_path, {}) as server:
        migrated_by_main(server, monkeypatch)
        data = server.data
    (data / "standby.signal").touch()
    with running_postgres(tmp_path, {}, databases=False) as standby, asked(database_url(standby, "users")) as found:
        assert found.keys() == {"writable"}
        assert "standby" in found["writable"]


def migrated_by_main(server: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url(server, "users"))
    assert main("users_service", ["migrate"]) == 0


@pytest.mark.loud
@pytest.mark.parametrize(("days", "where"), [(20, "ahead of"), (-30, "behind")])
def test_a_clock_that_is_days_off_is_named(url: str, monkeypatch: pytest.MonkeyPatch, days: int, where: str) -> None:
    monkeypatch.setattr(clocks, "time", SimpleNamespace(time=lambda: time.time() + days * 86400))
    with asked(url) as found:
        assert found.keys() == {"clock"}
        assert f"{where} its database's" in found["clock"]


def test_somebody_elses_database_is_named(url: str) -> None:
    with asked(url, installation=Installation("shop", "another")) as found:
        assert found.keys() == {"own_database"}


def test_a_database_that_is_not_migrated_is_named(shop: EagerShop, url: str) -> None:
    shop.query("users", "DELETE FROM alembic_version")
    try:
        with asked(url) as found:
            assert found.keys() == {"migrated"}
            assert "python -m users_service migrate" in found["migrated"]
    finally:
        shop.query("users", "INSERT INTO alembic_version VALUES (:head)", head=head())


def head() -> str:
    from alembic.script import ScriptDirectory

    from service_roles.migrate import _config

    return str(ScriptDirectory.from_config(_config("users_service")).get_current_head())


def test_a_database_that_is_away_is_named() -> None:
    with asked("postgresql://nobody:secret@127.0.0.1:1/nowhere") as found:
        assert "database" in found
        assert "secret" not in str(found)


def test_a_worker_says_at_its_start_what_is_missing(
    shop: EagerShop, url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", url.replace("+psycopg2", ""))
    monkeypatch.setattr("service_roles.main._work", lambda *_: 0)
    shop.query("users", "ALTER ROLE CURRENT_USER SET default_transaction_read_only = on")
    try:
        assert main("users_service", ["worker"]) == 0
    finally:
        shop.query("users", "BEGIN READ WRITE; ALTER ROLE CURRENT_USER RESET default_transaction_read_only")
    assert "users_service worker: not ready: writable: transactions are read-only" in capsys.readouterr().err
    monkeypatch.setenv(VARIABLE, INSTALLATION.name)


def test_the_documents_table_has_every_check() -> None:
    told = re.findall(r"^\| `(\w+)` \|", OPERATIONS.read_text(), flags=re.M)
    engine = sa.create_engine("postgresql+psycopg2://")
    known = checks(engine, Identity(engine, INSTALLATION, "users"), OwnClock(engine, LIMITS), migrated("users"))
    assert [name for name in known if name not in told] == []
