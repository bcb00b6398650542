"""Which database this is, and whose.

Each database of the application has one row that names it (an id of its own, made once, which backups and standbys
share) and says to which installation and service it belongs. A branch returns the id of the database that prepared it,
read in the very transaction that it prepares, so that a yes proves *where* something is prepared, and the yes of a
worker at somebody else's database is worth nothing.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection, Engine, text
from sqlalchemy.event import listen

from atomic_commit.errors import WrongDatabase
from atomic_commit.names import Installation
from atomic_commit.postgres.database import autocommit, translated_errors

log = logging.getLogger(__name__)

_READ = text("SELECT id, installation, service FROM database_identity")
_CLAIM = text(
    "UPDATE database_identity SET installation = :installation, service = :service"
    " WHERE installation IS NULL AND service IS NULL"
)
_IS_NAMED = text("SELECT to_regclass('database_identity') IS NOT NULL")
#: SQL for a local transaction that has to know where it is: the id, or NULL in a database that is not the service's.
OWN_DATABASE = "(SELECT id FROM database_identity WHERE installation = :installation AND service = :service)"


def claim(connection: Connection, installation: Installation, service: str) -> UUID:
    """Make this database the service's, if it is nobody's yet. Returns its id.

    Raises WrongDatabase where it belongs to another installation or service.
    """
    connection.execute(_CLAIM, {"installation": str(installation), "service": service})
    return check(connection, installation, service)


def check(connection: Connection, installation: Installation, service: str) -> UUID:
    """The id of this database. Raises WrongDatabase unless it is the service's."""
    row = connection.execute(_READ).first()
    if row is None or (row.installation, row.service) != (str(installation), service):
        owner = f"{row.service} of {row.installation}" if row and row.installation else "nobody yet"
        raise WrongDatabase(
            f"this database belongs to {owner}, and this process is {service} of {installation}:"
            " check DATABASE_URL and ATOMIC_INSTALLATION"
        )
    return UUID(str(row.id))


@dataclass(frozen=True)
class Owner:
    """A database and whose it is."""

    #: its id, a UUID as text
    database: str
    #: "application.name"; None: nobody's yet
    installation: str | None
    #: None: nobody's yet
    service: str | None


def owner_of(connection: Connection) -> Owner:
    """Which database this is, and whose."""
    row = connection.execute(_READ).one()
    return Owner(str(row.id), row.installation, row.service)


def is_named(connection: Connection) -> bool:
    """Whether the database has a row that names it: one that was never migrated has none."""
    return bool(connection.execute(_IS_NAMED).scalar())


class Identity:
    """The service's own database, asked once for every time that connections to it were opened."""

    def __init__(self, engine: Engine, installation: Installation, service: str) -> None:
        self.installation, self.service = installation, service
        self._reads = autocommit(engine)
        self._known: str | None = None
        listen(engine, "connect", self._ask_again)

    def database(self) -> str:
        """Its id. Raises WrongDatabase unless it is the service's, Lost or Conflict where it can't be asked."""
        if (known := self._known) is not None:
            return known
        with translated_errors(), self._reads.connect() as connection:
            found = str(check(connection, self.installation, self.service))
        log.info("%s of %s, database %s", self.service, self.installation, found)
        self._known = found
        return found

    def must_be(self, meant: str | None) -> None:
        """Refuse what is meant for another database. None: the sender did not know which one yet."""
        self.assert_own(self.database(), meant)

    def assert_own(self, database: str | None, meant: str | None) -> str:
        """The same where the database was asked by the caller, who got None if it is not the service's own. Returns
        its id."""
        if database is None:
            raise WrongDatabase(f"this is not the database of {self.service} of {self.installation}")
        if meant not in (None, database):
            log.critical(
                "a message for database %s came to database %s. If this one replaced that one on purpose, let it in at"
                " each coordinator (databases --forget %s); else another installation called %s uses this broker: give"
                " one of them another name (ATOMIC_INSTALLATION)",
                meant,
                database,
                self.service,
                self.installation,
            )
            raise WrongDatabase("the message is meant for another database")
        return database

    def _ask_again(self, *_: object) -> None:
        """A new connection may lead to another server than the one before."""
        self._known = None
