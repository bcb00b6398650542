"""Whether a process could do its work: one list of checks, for ``/readyz`` and for a worker's start.

Each check returns when all is well and raises when not: ``NotReady`` with words for whoever asks, anything else where
the question itself failed. A check that says no says what to do as well; the manual's page Operations has the table.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Engine, text

from atomic_commit.errors import WrongDatabase
from atomic_commit.postgres.clocks import OwnClock
from atomic_commit.postgres.identity import Identity

#: The settings by which the protocol's waits end (0 would be for ever) → their values at the default lock timeout.
_LIMITS = {"lock_timeout": "1s", "statement_timeout": "10s", "idle_in_transaction_session_timeout": "20s"}
#: How somebody sets what a pooler does not pass on.
_SET = "ALTER ROLE <the service's role> SET"
#: Setting → the values with which what is committed stays committed.
_DURABLE = {
    "synchronous_commit": ("on", "remote_apply"),
    "fsync": ("on",),
    "full_page_writes": ("on",),
}


class NotReady(Exception):
    """A check says no; the message is part of the answer."""


Checks = dict[str, Callable[[], None]]


def checks(
    engine: Engine, identity: Identity, own_clock: OwnClock, assert_migrated: Callable[[Engine], None]
) -> Checks:
    """Name → check, for the service that `identity` names on its database (`engine`). `assert_migrated` raises
    RuntimeError, saying what to do, where the database is not at the version that the code expects."""

    def shown(setting: str) -> str:
        with engine.connect() as connection:
            return str(connection.execute(text(f"SHOW {setting}")).scalar_one())

    def database() -> None:
        with engine.connect() as connection:
            connection.execute(text("SELECT 1"))

    def migrated() -> None:
        try:
            assert_migrated(engine)
        except RuntimeError as error:
            raise NotReady(str(error)) from error

    def own_database() -> None:
        try:
            identity.database()
        except WrongDatabase as error:
            raise NotReady(str(error)) from error

    def writable() -> None:
        with engine.connect() as connection:
            standby = connection.execute(text("SELECT pg_is_in_recovery()")).scalar_one()
        if standby:
            raise NotReady(
                "this is a standby: DATABASE_URL must lead to the primary (after a failover: to the new one)"
            )
        if shown("transaction_read_only") == "on":
            raise NotReady(
                "transactions are read-only: look at default_transaction_read_only of server, database, role"
            )

    def able_to_prepare() -> None:
        if not int(shown("max_prepared_transactions")):
            raise NotReady("max_prepared_transactions is 0: set it in postgresql.conf and restart PostgreSQL")

    def bounded_waits() -> None:
        if lost := [name for name in _LIMITS if shown(name) == "0"]:
            remedy = "; ".join(f"{_SET} {name} = '{_LIMITS[name]}'" for name in lost)
            raise NotReady(f"{', '.join(lost)} got lost on the way (a pooler?): {remedy}")

    def isolation() -> None:
        if (level := shown("transaction_isolation")) != "read committed":
            raise NotReady(f"transactions are {level}: {_SET} default_transaction_isolation = 'read committed'")

    def durable() -> None:
        weak = {name: seen for name, good in _DURABLE.items() if (seen := shown(name)) not in good}
        if weak:
            told = ", ".join(f"{name} is {seen}" for name, seen in weak.items())
            raise NotReady(
                f"{told}: what is committed may be forgotten; turn on fsync and full_page_writes in postgresql.conf,"
                f" synchronous_commit by {_SET} synchronous_commit = on"
            )

    def clock() -> None:
        if unfit := own_clock.look():
            raise NotReady(unfit)

    all_checks = (
        database,
        migrated,
        own_database,
        writable,
        able_to_prepare,
        bounded_waits,
        isolation,
        durable,
        clock,
    )
    return {check.__name__: check for check in all_checks}


def missing(checks: Checks) -> dict[str, str]:
    """Name → words, of each check that says no."""
    found = {}
    for name, check in checks.items():
        try:
            check()
        except Exception as error:
            found[name] = str(error) if isinstance(error, NotReady) else f"failed: {type(error).__name__}"
    return found
