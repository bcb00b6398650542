"""A local transaction that is begun and ended by statements of ours, and a branch that runs in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2.extensions
from sqlalchemy import Connection, Engine
from sqlalchemy.event import listen
from sqlalchemy.orm import ORMExecuteState, Session, SessionTransaction

from atomic_commit.declare import BranchDeclaration
from atomic_commit.errors import Impossible


@contextmanager
def own_transaction(engine: Engine) -> Iterator[Session]:
    """A session whose transaction is begun and ended by statements of ours, behind the driver's back. (`engine` is in
    ``autocommit``.)

    PREPARE TRANSACTION ends the transaction on the server, which psycopg2 does not notice: believing itself inside one,
    it would run the connection's next statement outside any. In autocommit mode it believes nothing. Whatever leaves
    the block by an exception is rolled back; a connection that can't be is thrown away.
    """
    with engine.connect() as connection, Session(connection) as session:
        listen(session, "after_soft_rollback", _refuse_to_go_on)
        try:
            yield session
        except BaseException:
            _roll_back(connection)
            raise
        if _in_transaction(connection):
            _roll_back(connection)


@contextmanager
def branch_runs(session: Session, branch: BranchDeclaration) -> Iterator[None]:
    if branch.holds:
        listen(session, "do_orm_execute", _refuse_to_write)
        listen(session, "before_flush", _refuse_to_flush)
    session.info["branch_runs"] = True
    yield
    session.info["branch_runs"] = False


def _refuse_to_write(state: ORMExecuteState) -> None:
    """Whom a later branch leaves out stays in what a hold has prepared, and that will be committed."""
    if state.is_insert or state.is_update or state.is_delete:
        raise Impossible("a hold may not write: declare it as a branch")


def _refuse_to_flush(session: Session, *_: object) -> None:
    if session.new or session.dirty or session.deleted:
        raise Impossible("a hold may not write: declare it as a branch")


def _refuse_to_go_on(session: Session, ended: SessionTransaction) -> None:
    """A branch that rolls back by itself would only seem to: the transaction is ours, and what it has undone in its own
    eyes would be prepared. (Rolling back to a savepoint is real, and allowed.)"""
    if session.info.get("branch_runs") and not ended.nested:
        raise Impossible("a branch may not roll back by itself; let it raise")


def _roll_back(connection: Connection) -> None:
    try:
        connection.exec_driver_sql("ROLLBACK")
    except Exception:
        connection.invalidate()


def has_failed(driver: Any) -> bool:
    return bool(driver.info.transaction_status == psycopg2.extensions.TRANSACTION_STATUS_INERROR)


def _in_transaction(connection: Connection) -> bool:
    """Whether the server holds a transaction open on this connection (libpq's own knowledge, no round trip)."""
    driver: Any = connection.connection.driver_connection
    return bool(driver.info.transaction_status != psycopg2.extensions.TRANSACTION_STATUS_IDLE)
