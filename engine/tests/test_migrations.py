"""The engine's tables, with Alembic and without."""

from __future__ import annotations

import threading

import pytest
import sqlalchemy as sa

from atomic_commit import AtomicCommit, WrongDatabase, migrations
from atomic_commit.journal.schema import metadata
from atomic_commit.testing.line import EagerLine


@pytest.fixture
def atomic(atomic_line: EagerLine) -> AtomicCommit:
    return atomic_line.service("bank")


@pytest.fixture
def empty(atomic: AtomicCommit) -> sa.Engine:
    """A database without tables."""
    with atomic.engine.begin() as connection:
        migrations.downgrade(connection, 0)
    return atomic.engine


def tables(engine: sa.Engine) -> set[str]:
    return set(sa.inspect(engine).get_table_names())


def test_one_call_makes_all_tables_and_a_second_changes_nothing(empty: sa.Engine) -> None:
    assert migrations.migrate(empty) == 0
    assert tables(empty) == metadata.tables.keys()
    assert migrations.migrate(empty) == migrations.NEWEST


def test_what_alembic_has_made_is_known_without_it_and_the_other_way_round(empty: sa.Engine) -> None:
    with empty.begin() as connection:  # as a revision does with op.get_bind()
        migrations.upgrade(connection, 1)
        assert migrations.version_of(connection) == 1
    assert migrations.migrate(empty) == 1
    with empty.begin() as connection:
        migrations.downgrade(connection, 0)
        assert migrations.version_of(connection) == 0
    assert tables(empty) == set()


def test_those_who_migrate_at_the_same_moment_do_it_once(empty: sa.Engine) -> None:
    found: list[int] = []
    several = [threading.Thread(target=lambda: found.append(migrations.migrate(empty))) for _ in range(4)]
    for one in several:
        one.start()
    for one in several:
        one.join()
    assert sorted(found) == [0] + 3 * [migrations.NEWEST]


def test_a_service_can_tell_that_its_database_is_behind(atomic: AtomicCommit, empty: sa.Engine) -> None:
    with pytest.raises(RuntimeError, match="at version 0, the code at 2: migrate them"):
        migrations.assert_migrated(empty)
    atomic.migrate()
    migrations.assert_migrated(empty)
    for check in atomic.checks().values():
        check()


def test_somebody_elses_database_is_not_migrated(atomic: AtomicCommit, monkeypatch: pytest.MonkeyPatch) -> None:
    migrated: list[sa.Engine] = []
    monkeypatch.setattr(migrations, "migrate", migrated.append)
    with atomic.engine.begin() as connection:
        connection.execute(sa.text("UPDATE database_identity SET service = 'market'"))
    with pytest.raises(WrongDatabase, match="belongs to market of line"):
        atomic.migrate()
    assert migrated == []
