"""Migrations (Alembic): each service keeps its own under ``<service>/migrations``, all run the same way."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import sqlalchemy as sa
from alembic import command, context
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Engine, MetaData

from atomic_commit import WrongDatabase
from atomic_commit.postgres.database import with_driver
from atomic_commit.postgres.identity import claim, is_named
from celery_config.installation import installation

#: Any number, the same for every migration of one database: two that start together run one after the other.
_ONE_AT_A_TIME = 7_219_401


def upgrade(package: str) -> int:
    """Bring the database of `package` to the newest version, and make it this installation's. Returns an exit code."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    engine = sa.create_engine(database_url(), poolclass=sa.pool.NullPool)
    of_this_process, service = installation(), package.removesuffix("_service")
    try:
        with engine.connect() as connection:
            if is_named(connection):  # somebody else's is not even migrated
                claim(connection, of_this_process, service)
        command.upgrade(_config(package), "head")
        with engine.begin() as connection:
            claim(connection, of_this_process, service)
    except WrongDatabase as error:
        print(f"{package} migrate: {error}", file=sys.stderr)
        return 2
    except CommandError as error:
        print(f"{package} migrate: {error}: another release has migrated this database", file=sys.stderr)
        return 1
    except sa.exc.OperationalError as error:
        print(f"{package} migrate: {str(error.orig).strip()}", file=sys.stderr)
        return 1
    return 0


def assert_migrated(engine: Engine, package: str) -> None:
    """Raise RuntimeError, saying what to run, unless the database is at the version that the code expects, or beyond.

    Beyond is a version that this code does not know: the database was migrated for the next release, whose rollout is
    under way. Refusing it would take every process of this release out of service before the first of the next is up.
    """
    script = ScriptDirectory.from_config(_config(package))
    head = script.get_current_head()
    with engine.connect() as connection:
        current = MigrationContext.configure(connection).get_current_revision()
    if current is None or (current != head and current in {step.revision for step in script.walk_revisions()}):
        raise RuntimeError(f"database is at {current or 'nothing'}, code at {head}: run python -m {package} migrate")


def migrated(service: str) -> Callable[[Engine], None]:
    """``assert_migrated`` for the database of `service`."""
    return lambda engine: assert_migrated(engine, f"{service}_service")


def run_env(metadata: MetaData) -> None:
    """What each service's ``migrations/env.py`` does: one transaction, one migration at a time, and no long wait for a
    table that a transaction in doubt still holds."""
    engine = sa.create_engine(database_url(), poolclass=sa.pool.NullPool)
    with engine.connect() as connection:
        context.configure(connection=connection, target_metadata=metadata)
        with context.begin_transaction():
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ONE_AT_A_TIME})
            connection.execute(sa.text("SET LOCAL lock_timeout = '5s'"))
            context.run_migrations()


def database_url() -> str:
    """``DATABASE_URL`` with the driver named, as SQLAlchemy wants it. Raises ValueError where it is not set."""
    url = os.environ.get("DATABASE_URL")
    if not url:
        raise ValueError("DATABASE_URL is not set; for example postgresql://user:password@host:5432/database")
    return with_driver(url)


def _config(package: str) -> Config:
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise RuntimeError(f"there is no package {package}")
    config = Config()
    config.set_main_option("script_location", str(Path(spec.origin).parent / "migrations"))
    return config
