"""The migrations make exactly the tables that the models and the protocol describe, and take them back again."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from eager_postgres import fresh_database

from atomic_commit.journal.schema import metadata as protocol_tables
from celery_config.manifest import SERVICES
from local_servers.postgres import Postgres
from service_roles.migrate import assert_migrated, upgrade

ROOT = Path(__file__).resolve().parents[3]

each_service = pytest.mark.parametrize("service", SERVICES)


@pytest.fixture
def database(postgres: Postgres, service: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[sa.Engine]:
    """An empty database, not migrated, that ``DATABASE_URL`` points to."""
    with fresh_database(postgres, f"{service}_empty") as url:
        monkeypatch.setenv("DATABASE_URL", url)
        engine = sa.create_engine(url.replace("postgresql:", "postgresql+psycopg2:"), poolclass=sa.NullPool)
        yield engine
        engine.dispose()


def models(service: str) -> sa.MetaData:
    return importlib.import_module(f"{service}_service.models").metadata


def tables(engine: sa.Engine) -> set[str]:
    return set(sa.inspect(engine).get_table_names()) - {"alembic_version"}


@each_service
def test_a_migrated_database_is_what_the_models_describe(database: sa.Engine, service: str) -> None:
    assert upgrade(f"{service}_service") == 0
    with database.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, models(service)) == []


@each_service
def test_the_checks_that_the_models_rely_on_are_in_the_database(database: sa.Engine, service: str) -> None:
    upgrade(f"{service}_service")
    named = {check["name"] for table in tables(database) for check in sa.inspect(database).get_check_constraints(table)}
    assert named >= {"transactions_state", "transaction_branches_outcome", "branch_rows_kind"}
    assert (
        named
        >= {
            "users": {"users_status"},
            "products": {"products_price", "products_stock", "products_capacity"},
            "orders": {"orders_status_known", "order_lines_quantity", "order_lines_unit_price"},
        }[service]
    )


@each_service
def test_the_protocol_has_the_same_tables_in_every_service(database: sa.Engine, service: str) -> None:
    upgrade(f"{service}_service")
    assert set(protocol_tables.tables) < tables(database)


@each_service
def test_migrating_twice_changes_nothing(database: sa.Engine, service: str) -> None:
    upgrade(f"{service}_service")
    before = tables(database)
    assert upgrade(f"{service}_service") == 0
    assert tables(database) == before


@each_service
def test_a_downgrade_leaves_no_table_behind_and_the_way_up_is_open_again(database: sa.Engine, service: str) -> None:
    upgrade(f"{service}_service")
    config = Config()
    config.set_main_option("script_location", str(ROOT / f"{service}_service" / "migrations"))
    command.downgrade(config, "base")
    assert tables(database) == set()
    assert upgrade(f"{service}_service") == 0
    assert tables(database)


@each_service
def test_a_service_can_tell_whether_its_database_is_migrated(database: sa.Engine, service: str) -> None:
    with pytest.raises(RuntimeError, match=f"python -m {service}_service migrate"):
        assert_migrated(database, f"{service}_service")
    upgrade(f"{service}_service")
    assert_migrated(database, f"{service}_service")


@each_service
def test_a_database_that_the_next_release_has_migrated_is_good_enough(database: sa.Engine, service: str) -> None:
    upgrade(f"{service}_service")
    with database.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = 'of the next release'"))
    assert_migrated(database, f"{service}_service")


@pytest.mark.parametrize("service", ["users"])
def test_a_database_of_another_release_is_left_alone_and_told_in_one_line(
    database: sa.Engine, service: str, capsys: pytest.CaptureFixture[str]
) -> None:
    upgrade(f"{service}_service")
    with database.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = 'of the next release'"))
    assert upgrade(f"{service}_service") == 1
    (told,) = capsys.readouterr().err.strip().splitlines()
    assert "of the next release" in told
    assert "another release" in told


@pytest.mark.parametrize("service", ["users"])
def test_a_database_that_is_behind_is_told(
    database: sa.Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upgrade("users_service")
    shutil.copytree(ROOT / "users_service" / "migrations", tmp_path / "migrations")
    (tmp_path / "migrations" / "versions" / "9999_more.py").write_text('revision, down_revision = "9999", "0006"\n')
    config = Config()
    config.set_main_option("script_location", str(tmp_path / "migrations"))
    monkeypatch.setattr("service_roles.migrate._config", lambda package: config)
    with pytest.raises(RuntimeError, match="database is at 0006, code at 9999: run python -m users_service migrate"):
        assert_migrated(database, "users_service")


@each_service
def test_a_database_that_is_not_there_is_told_in_one_line_and_an_exit_code(
    postgres: Postgres, service: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", postgres.admin_url("nowhere"))
    assert upgrade(f"{service}_service") == 1
    told = capsys.readouterr().err
    assert "nowhere" in told
    assert len(told.strip().splitlines()) == 1


def test_two_migrations_that_start_together_run_one_after_the_other(postgres: Postgres) -> None:
    """As where two containers of a service start at once: whoever comes second waits and finds nothing to do."""
    with fresh_database(postgres, "together") as url:
        run = [
            subprocess.Popen(
                [sys.executable, "-m", "orders_service", "migrate"],
                env={**os.environ, "DATABASE_URL": url},
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for _ in range(2)
        ]
        told = [process.communicate(timeout=60)[0] for process in run]
        assert [process.returncode for process in run] == [0, 0], told
