"""Several services in one process, on real databases: what a branch or a kind of yours does in a whole transaction.

Messages are delivered at once, in the thread that sends them, and what recovery does is done when the test says so.
Everything else is as it is in production: prepared transactions, votes, the decision, outcomes.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Iterable, Iterator
from typing import Any

import sqlalchemy as sa
from celery import Celery
from celery.canvas import Signature

from atomic_commit.declare import Branches, TransactionKind
from atomic_commit.engine import AtomicCommit
from atomic_commit.limits import Limits
from atomic_commit.names import Installation
from atomic_commit.postgres.client_timeouts import unbounded_waits
from atomic_commit.postgres.database import create_engine, with_driver
from atomic_commit.testing import failpoints

#: Short, so that a test waits for locks and for new attempts no longer than it has to.
LIMITS = Limits(
    deadline=30.0,
    patience=0.3,
    patience_cap=1.0,
    lock_timeout=0.5,
    branch_row_timeout=0.1,
    look_after=0.05,
    backoff=0.02,
    backoff_cap=0.1,
)
#: Seconds between two looks of recovery.
_PAUSE = 0.02


class Killed(BaseException):
    """Stands in for the end of the process: nothing on the way catches it."""


class EagerLine:
    """The services of one installation. ``line.service(…)`` adds one, with a database of its own."""

    def __init__(self, postgres_url: str) -> None:
        """`postgres_url`: a server that may prepare transactions, as somebody who may make and drop databases."""
        self.installation = Installation("line", f"t{secrets.token_hex(4)}")
        self.services: dict[str, AtomicCommit] = {}
        self._url = sa.make_url(with_driver(postgres_url))
        self._admin = sa.create_engine(self._url, isolation_level="AUTOCOMMIT")
        self._delivers = True
        self._celery = Celery("line", set_as_current=False)
        self._celery.conf.update(
            task_always_eager=True,
            task_store_eager_result=True,
            result_backend="cache+memory://",
            task_serializer="json",
            result_serializer="json",
            accept_content=["json"],
        )

    def service(
        self,
        name: str,
        *,
        kinds: Iterable[TransactionKind] = (),
        branches: Branches | None = None,
        tables: str | sa.MetaData = "",
    ) -> AtomicCommit:
        """Add a service. `tables`: its own, as SQL or as SQLAlchemy's metadata."""
        engine = create_engine(self._make_database(name), 5, LIMITS)
        atomic = AtomicCommit(
            service=name,
            installation=self.installation,
            engine=engine,
            celery=self._celery,
            kinds=kinds,
            branches=branches,
            limits=LIMITS,
        )
        atomic.messages.carry = self._carry
        atomic.migrate()
        if isinstance(tables, sa.MetaData):
            tables.create_all(engine)
        elif tables:
            with engine.begin() as connection:
                connection.exec_driver_sql(tables)
        self.services[name] = atomic
        self._celery.conf.atomic_services = tuple(self.services)
        return atomic

    def run(self, service: str, kind: str, **arguments: Any) -> Any:
        """Begin a transaction and see it to its end. Returns its record; raises what ``AtomicCommit.begin`` raises."""
        begun = self.services[service].begin(kind, arguments)
        self.settle()
        return self.services[service].find(begun.id)

    def settle(self, within: float = 10.0) -> None:
        """Recover until every transaction is settled. Raises AssertionError with what is left after `within`."""
        end = time.monotonic() + within
        while left := self.unsettled():
            assert time.monotonic() < end, f"not settled after {within:g} s: {left}; prepared: {self.prepared()}"
            for atomic in self.services.values():
                atomic.sweeper.sweep()
            time.sleep(_PAUSE)

    def unsettled(self) -> list[str]:
        """What is not settled, in words."""
        return [
            f"{name}: {kind} {id} is {state}, attempt {attempt}, {error or 'no error'}"
            for name in self.services
            for id, kind, state, attempt, error in self.query(
                name, "SELECT id, kind, state, attempt, error FROM transactions WHERE settled_at IS NULL"
            )
        ]

    def prepared(self) -> list[str]:
        """The gids of what stands prepared, in all databases of this line."""
        with self._admin.connect() as connection:
            found = connection.execute(
                sa.text("SELECT gid FROM pg_prepared_xacts WHERE gid LIKE :ours ORDER BY prepared, gid"),
                {"ours": f"{self.installation}:%"},
            )
            return [gid for (gid,) in found]

    def query(self, service: str, statement: str, **parameters: Any) -> list[tuple[Any, ...]]:
        """The rows that a statement gives in a service's database (or none), in a local transaction of its own."""
        with self.services[service].engine.begin() as connection:
            result = connection.execute(sa.text(statement), parameters)
            return [tuple(row) for row in result] if result.returns_rows else []

    @contextlib.contextmanager
    def losing_messages(self) -> Iterator[None]:
        """In the block every message is taken by the broker and never seen again."""
        self._delivers = False
        try:
            yield
        finally:
            self._delivers = True

    @contextlib.contextmanager
    def killed_at(self, point: str) -> Iterator[None]:
        """The block ends where the process would at this failpoint (``testing.failpoints`` lists them); what is behind
        it in the block is not run. Raises AssertionError where the point was not reached."""
        with failpoints.armed(point, _die), contextlib.suppress(Killed):
            yield

    def close(self) -> None:
        """Forget everything: roll back what is prepared, drop the databases."""
        for name, atomic in self.services.items():
            for gid in self.prepared():
                with contextlib.suppress(sa.exc.DBAPIError), atomic.engine.connect() as connection:
                    connection.execution_options(isolation_level="AUTOCOMMIT")
                    connection.execute(sa.text("ROLLBACK PREPARED :gid"), {"gid": gid})
            atomic.engine.dispose()
            self._command(f'DROP DATABASE IF EXISTS "{self._database(name)}" WITH (FORCE)')
        self._admin.dispose()

    # ---- its steps

    def _carry(self, signature: Signature) -> None:
        """Run the task here. A broker takes a message whatever its task will do, so what the task raises is no failure
        to send; a process that is killed takes its caller with it, which is the same process here."""
        if self._delivers:
            with contextlib.suppress(Exception):
                signature.apply_async()

    def _database(self, service: str) -> str:
        return f"{self.installation.name}_{service}"

    def _make_database(self, service: str) -> str:
        name = self._database(service)
        self._command(f'CREATE DATABASE "{name}"')
        return self._url.set(drivername="postgresql", database=name).render_as_string(hide_password=False)

    def _command(self, statement: str) -> None:
        with unbounded_waits(), self._admin.connect() as connection:
            connection.exec_driver_sql(statement)


def _die() -> None:
    raise Killed
