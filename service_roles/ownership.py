"""What a process finds at its start: whose database it is, so that one at the wrong database never gets to work, and
what would keep it from its work."""

from __future__ import annotations

import sys

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from atomic_commit import Installation, Limits, WrongDatabase
from atomic_commit.postgres.clocks import OwnClock
from atomic_commit.postgres.database import engine_options
from atomic_commit.postgres.identity import Identity, check, is_named
from atomic_commit.postgres.readiness import checks, missing
from service_roles.migrate import database_url, migrated


def at_own_database(installation: Installation, service: str, who: str) -> bool:
    """Whether the process may start: not at a database that belongs to another installation or service.

    One that is away, or not migrated yet, is no reason not to start: the process asks again by itself before it changes
    anything.
    """
    print(f"{who}: {service} of the installation {installation}", flush=True)
    limits = Limits.from_environment()
    engine = sa.create_engine(database_url(), **engine_options(limits, 1))
    try:
        with engine.connect() as connection:
            if is_named(connection):
                check(connection, installation, service)
        # A worker has no /readyz: what it would say there it says at its start.
        asked = checks(engine, Identity(engine, installation, service), OwnClock(engine, limits), migrated(service))
        for name, words in missing(asked).items():
            print(f"{who}: not ready: {name}: {words}", file=sys.stderr)
    except WrongDatabase as error:
        print(f"{who}: {error}", file=sys.stderr)
        return False
    except DBAPIError as error:
        print(f"{who}: whose database it is can't be asked yet: {str(error.orig).strip()}", file=sys.stderr)
    finally:
        engine.dispose()
    return True
