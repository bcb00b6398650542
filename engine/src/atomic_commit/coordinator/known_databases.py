"""In which database each participant prepares, as this coordinator saw it first (trust on first use, as SSH does with
host keys: RFC 4251, section 4.1).

What was seen first is written down in the journal and holds from then on, for every process of the service. A yes or an
answer from another database counts for nothing. A participant whose database was replaced by a new one is let in again
by a person (``python -m <service> databases --forget``).
"""

from __future__ import annotations

import logging
import time

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from atomic_commit import journal
from atomic_commit.postgres.database import autocommit

log = logging.getLogger(__name__)

#: Seconds for which what was read is not read again. (It changes when a person says so.)
_KEPT = 5.0


class KnownDatabases:
    """The databases of the participants in the transactions that one service coordinates, on its database."""

    def __init__(self, engine: Engine) -> None:
        self._engine, self._reads = engine, autocommit(engine)
        self._known: dict[str, str] = {}
        self._read_at = float("-inf")

    def of(self, service: str) -> str | None:
        """The id of the participant's database, for the messages to it. None if it was never seen, or can't be read
        now: then the participant's answer will tell. Never raises."""
        try:
            self._read_if_old()
        except (DBAPIError, PoolTimeout) as error:
            log.warning("the participants' databases can't be read now: %s", str(error).splitlines()[0])
        return self._known.get(service)

    def accepts(self, service: str, database: str) -> bool:
        """Whether this is the participant's database. The first one that is ever seen is."""
        self._read_if_old()
        if self._known.get(service) == database:
            return True
        with Session(self._engine) as session, session.begin():
            journal.pin_database(session, service, database)
        self._read()
        if self._known[service] == database:
            return True
        log.critical(
            "%s answers from database %s and is known at %s: its word counts for nothing. If its database was replaced"
            " on purpose, let the new one in (databases --forget %s, for this service); else another installation of"
            " the same name uses this broker: give one of them another name (ATOMIC_INSTALLATION)",
            service,
            database,
            self._known[service],
            service,
        )
        return False

    def _read_if_old(self) -> None:
        if time.monotonic() - self._read_at > _KEPT:
            self._read()

    def _read(self) -> None:
        with Session(self._reads) as session:
            self._known = journal.pinned_databases(session)
        self._read_at = time.monotonic()
