"""A PostgreSQL server that hangs keeps its connections and answers nothing: nobody waits for it without end."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator

import pytest
import sqlalchemy as sa
from eager_postgres import database_url
from psycopg2 import extensions

from atomic_commit import Limits, Lost
from atomic_commit.postgres.database import (
    TRUSTED,
    autocommit,
    engine_options,
    run_outside_transaction,
    translated_errors,
)
from local_servers.postgres import Postgres

#: Statements may take half a second here, so the client gives up after one and a half.
HASTY = Limits(lock_timeout=0.05)
GIVES_UP_WITHIN = 8.0  # generous: other work runs on the machine


@pytest.fixture
def hasty_options() -> Iterator[dict[str, object]]:
    before = extensions.get_wait_callback()
    yield engine_options(HASTY, 2)
    extensions.set_wait_callback(before)


@pytest.fixture
def engine(postgres: Postgres, hasty_options: dict[str, object]) -> Iterator[sa.Engine]:
    url = database_url(postgres, "users").replace("postgresql:", "postgresql+psycopg2:")
    engine = sa.create_engine(url, **hasty_options)
    yield engine
    engine.dispose()


@contextlib.contextmanager
def frozen(connection: sa.Connection) -> Iterator[None]:
    """The connection's backend hangs while the block runs."""
    backend = connection.connection.driver_connection.info.backend_pid
    os.kill(backend, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(backend, signal.SIGCONT)


def commits(engine: sa.Engine, connection: sa.Connection) -> None:
    connection.commit()


def asks(engine: sa.Engine, connection: sa.Connection) -> None:
    connection.execute(sa.text("SELECT 2"))


@pytest.mark.parametrize("what", [commits, asks])
def test_whoever_waits_for_a_server_that_hangs_gives_it_up_as_lost(
    engine: sa.Engine, what: Callable[[sa.Engine, sa.Connection], None]
) -> None:
    with engine.connect() as connection:
        connection.execute(sa.text("SELECT 1"))
        began = time.monotonic()
        with frozen(connection), pytest.raises(Lost, match=r"did not answer within 1\.5 s"), translated_errors():
            what(engine, connection)
        assert 1.4 < time.monotonic() - began < GIVES_UP_WITHIN
        assert connection.invalidated


def test_a_pooled_connection_that_hangs_costs_one_time_limit_and_is_replaced(engine: sa.Engine) -> None:
    with engine.connect() as connection:
        backend = connection.connection.driver_connection.info.backend_pid
        with contextlib.ExitStack() as stack:
            stack.enter_context(frozen(connection))
            connection.close()  # back into the pool, and it hangs there
            time.sleep(TRUSTED)  # used a moment ago, it would be taken for alive
            began = time.monotonic()
            with autocommit(engine).connect() as connection:
                run_outside_transaction(connection, "SELECT :gid", gid="on another connection")
            assert time.monotonic() - began < GIVES_UP_WITHIN
    with engine.connect() as connection:
        assert connection.connection.driver_connection.info.backend_pid != backend


def test_a_server_that_accepts_and_says_nothing_is_given_up_while_connecting(hasty_options: dict[str, object]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        engine = sa.create_engine(f"postgresql+psycopg2://a:b@127.0.0.1:{silent.getsockname()[1]}/c", **hasty_options)
        began = time.monotonic()
        with pytest.raises(Lost, match="did not answer within 3 s"), translated_errors():
            engine.connect()
        assert 2.9 < time.monotonic() - began < GIVES_UP_WITHIN


def test_a_statement_that_only_takes_long_is_ended_by_the_server_and_not_given_up(engine: sa.Engine) -> None:
    with engine.connect() as connection:
        with pytest.raises(sa.exc.OperationalError, match="statement timeout"):
            connection.execute(sa.text("SELECT pg_sleep(5)"))
        connection.rollback()
        assert connection.execute(sa.text("SELECT 1")).scalar() == 1
