"""A commit counts once the synchronous standby has it, where there is one.

PostgreSQL commits locally first and waits for the standby afterwards. If that wait is cut short (a statement that is
cancelled, ``statement_timeout`` at COMMIT PREPARED, a server that is stopped) the commit is there, everybody sees it,
and all that is said is a WARNING: a failover may take it back
(https://www.postgresql.org/docs/current/warm-standby.html#SYNCHRONOUS-REPLICATION-HA). psycopg2 shows no SQLSTATE of a
warning, and its words are in the server's language; so sessions ask for warnings and nothing less
(``client_min_messages``), and *any* warning at a commit means that it is not known whether it stays.

Who finds a row later, that may have been committed in such a way or just before the server was started again, asks by a
commit of its own: the log is sent in order, so when the standby has that one it has everything before it.
"""

from __future__ import annotations

import time
from typing import Any

import psycopg2
from sqlalchemy import Engine, text
from sqlalchemy.event import contains, listen

from atomic_commit.postgres.database import collect_warnings, last_warning, translated_errors

_HAS_STANDBY = text("SELECT current_setting('synchronous_standby_names') <> ''")
#: Writes to the log, so that the commit waits for the standby like any other that has written.
_WRITE = text("SELECT pg_logical_emit_message(true, 'atomic_commit', '')")
#: Seconds for which it is not asked again whether there is a synchronous standby. Whoever names one and at the
#: same moment cuts waits for it short has these seconds to wait.
_KEPT = 5.0


class NotConfirmed(psycopg2.OperationalError):  # type: ignore[misc]  # psycopg2 has no types
    """A commit was answered with a warning: to SQLAlchemy and to ``errors.is_lost`` as if its answer had been lost."""


class Confirmation:
    """What was committed in one database (`engine`) and is to be acted on by others."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._has_standby, self._asked_at = True, float("-inf")
        _check_commits(engine)

    def wait(self) -> None:
        """Return when everything that can be seen now is confirmed: at once where there is no synchronous standby.

        Raises Lost where the standby does not answer in time: ask again.
        """
        with translated_errors():
            if time.monotonic() - self._asked_at > _KEPT:
                with self._engine.connect() as connection:
                    self._has_standby = bool(connection.scalar(_HAS_STANDBY))
                self._asked_at = time.monotonic()
            if self._has_standby:
                flush(self._engine)


def flush(engine: Engine) -> None:
    """Return when everything that was written to the log so far is on disk, here and on a synchronous standby. Raises
    Lost where that is not known."""
    with translated_errors(), engine.begin() as connection:
        connection.execute(_WRITE)


def _check_commits(engine: Engine) -> None:
    """From now on a commit on `engine` that is answered with a warning raises an OperationalError (``is_lost``)."""

    def do_commit(connection: Any) -> None:
        connection.notices.clear()
        connection.commit()
        if warning := last_warning(connection):
            raise NotConfirmed(f"not known whether it stays: {warning}")

    if not contains(engine, "connect", collect_warnings):
        listen(engine, "connect", collect_warnings)
    engine.dialect.do_commit = do_commit  # type: ignore[assignment, method-assign]
