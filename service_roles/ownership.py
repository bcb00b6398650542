"""Whose database is it? Asked before a process starts, so that one at the wrong database never gets to work."""

from __future__ import annotations

import sys

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from atomic_commit import Installation, Limits, WrongDatabase
from atomic_commit.database import engine_options
from atomic_commit.identity import check, is_named
from service_roles.migrate import database_url


def at_own_database(installation: Installation, service: str, who: str) -> bool:
    """Whether the process may start: not at a database that belongs to another installation or service.

    One that is away, or not migrated yet, is no reason not to start: the process asks again by itself before it changes
    anything.
    """
    print(f"{who}: {service} of the installation {installation}", flush=True)
    engine = sa.create_engine(database_url(), **engine_options(Limits.from_environment(), 1))
    try:
        with engine.connect() as connection:
            if is_named(connection):
                check(connection, installation, service)
    except WrongDatabase as error:
        print(f"{who}: {error}", file=sys.stderr)
        return False
    except DBAPIError as error:
        print(f"{who}: whose database it is can't be asked yet: {str(error.orig).strip()}", file=sys.stderr)
    finally:
        engine.dispose()
    return True
