"""The whole shop in one process: an app and a database for each service, one eager Celery app; and words for it.

What a test says is said in the shop's words (``place_order``, ``stock_of``, ``prepared``). Three things are the test's
own to decide, because nothing here happens by itself:

``shop.post``          whether messages are delivered (at once, in this thread), lost, or can't even be sent;
``shop.time_passes``   the clocks of the journals, which are the databases' and are moved instead of waited for;
``shop.sweep``         recovery, which in a real shop every outcome worker does by itself.
"""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, cast
from uuid import UUID

import flask
import psycopg2
import pytest
import sqlalchemy as sa
from celery import Celery
from kombu.exceptions import OperationalError as BrokerAway
from werkzeug.test import TestResponse

from atomic_commit import AtomicCommit, Limits, TransactionRecord, journal
from atomic_commit.coordinator.attempts import Attempts
from atomic_commit.journal.records import State, attempt_of
from atomic_commit.names import Gid, service_of
from atomic_commit.wire.hand_over import HandedOn
from atomic_commit.wire.messages import Messages
from celery_config.manifest import COORDINATORS, SERVICES
from tests.installation import INSTALLATION

#: Short where a test waits for real (for locks). Long between attempts: those clocks are moved, and a new attempt that
#: began by itself because the machine was slow would be one that no test expects.
LIMITS = Limits(
    deadline=600.0,
    patience=5.0,
    patience_cap=120.0,
    lock_timeout=0.3,
    branch_row_timeout=0.1,
    look_after=1.0,
    backoff=5.0,
    backoff_cap=5.0,
    unwatched=10.0,
    failed_attempts=3,
    quarantine_after=20,
    inquire_after=0.001,
)

TABLES = {
    "users": ("users",),
    "products": ("products",),
    "orders": ("orders", "order_lines"),
}
PROTOCOL_TABLES = (
    "transaction_branches",
    "transactions",
    "branch_rows",
    "local_calls",
    "testimonies",
    "losses",
    "coordinator_lives",
)


def eager_celery() -> Celery:
    """One Celery app for all services, whose tasks run where they are called."""
    celery = Celery("shop-in-one-process", set_as_current=False)
    celery.conf.update(
        task_always_eager=True,
        task_store_eager_result=True,
        result_backend="cache+memory://",
        task_serializer="json",
        result_serializer="json",
        accept_content=["json"],
        atomic_services=SERVICES,
    )
    return celery


class Post:
    """The way between the services. A message is delivered in the thread that sends it, unless the test says else."""

    def __init__(self) -> None:
        self.mode = "delivers"
        self.lost: list[str] = []
        self._send = Messages._send

    def carry(self, messages: Messages, signature: Any) -> bool:
        """In place of ``Messages._send``. A broker takes a message whatever its task will do, so an eager task's
        exception (which Celery lets through from a chain) is no failure to send."""
        if self.mode == "loses":
            self.lost.append(str(signature["task"]))
            return True
        if self.mode == "refuses":
            return self._send(messages, _Undeliverable(signature))
        self._send(messages, signature)
        return True

    @contextlib.contextmanager
    def loses(self) -> Iterator[None]:
        """Every message is taken and never seen again. So is it also where the sender dies right after sending."""
        with self._as("loses"):
            yield

    @contextlib.contextmanager
    def refuses(self) -> Iterator[None]:
        """The broker can't be reached."""
        with self._as("refuses"):
            yield

    @contextlib.contextmanager
    def _as(self, mode: str) -> Iterator[None]:
        before, self.mode = self.mode, mode
        try:
            yield
        finally:
            self.mode = before


class _Undeliverable:
    def __init__(self, signature: Any) -> None:
        self._signature = signature

    def get(self, name: str) -> Any:
        return self._signature.get(name)

    def apply_async(self) -> None:
        raise BrokerAway("no route to the broker")


@dataclass(frozen=True)
class Answer:
    """An HTTP answer, which tells all of itself when an assertion fails."""

    request: str
    response: TestResponse = field(repr=False)

    @property
    def status(self) -> int:
        return self.response.status_code

    @property
    def headers(self) -> Any:
        return self.response.headers

    @property
    def json(self) -> Any:
        return self.response.get_json(force=True)

    def __repr__(self) -> str:
        return f"\n{self.request}\n→ {self.response.status}\n{self.headers}{self.response.get_data(as_text=True)}"

    def expect(self, status: int) -> Answer:
        assert self.status == status, f"expected {status}:{self!r}"
        return self

    def problem(self, status: int, kind: str) -> dict[str, Any]:
        """The problem, which has to be well formed and of this status and type."""
        self.expect(status)
        assert self.response.mimetype == "application/problem+json", self
        body: dict[str, Any] = self.json
        assert body["type"] == f"/problems/{kind}", self
        assert body["status"] == status, self
        assert body["title"], self
        assert body["detail"], self
        if status == 503:
            assert int(self.headers["Retry-After"]) > 0, self
        return body


class EagerShop:
    """The services, ready to be asked over HTTP, and looked at from behind."""

    def __init__(self, urls: dict[str, str], admin_urls: dict[str, str]) -> None:
        self.celery = eager_celery()
        self.post = Post()
        self.apps: dict[str, flask.Flask] = {
            service: import_module(f"{service}_service").create_app(
                url=_with_driver(urls[service]), celery=self.celery, limits=LIMITS
            )
            for service in SERVICES
        }
        # What the application itself uses would do, but a pool of our own is not emptied by a test that tries that.
        self.engines = {service: sa.create_engine(_with_driver(urls[service])) for service in SERVICES}
        self.put_in: Counter[int] = Counter()
        self._admins = {service: _administrator(admin_urls[service]) for service in SERVICES}

    def close(self) -> None:
        for service, app in self.apps.items():
            with app.app_context():
                app.extensions["sqlalchemy"].engine.dispose()
            self.engines[service].dispose()
            self._admins[service].close()

    # ---- over HTTP

    def call(
        self,
        service: str,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: dict[str, str] | None = None,
        **given: Any,
    ) -> Answer:
        """Any request. `body` is sent as JSON; `given` goes to Flask's test client as it is."""
        if body is not None:
            given["json"] = body
        client = self.apps[service].test_client(use_cookies=False)
        response = client.open(path, method=method, headers=headers, buffered=True, **given)
        answer = Answer(f"{method} {service}:{path} {'' if body is None else json.dumps(body)}"[:2000], response)
        self._count_what_was_put_in(service, method, path, body, answer)
        return answer

    def _count_what_was_put_in(self, service: str, method: str, path: str, body: Any, answer: Answer) -> None:
        if service != "products" or method != "POST" or answer.status not in (200, 201):
            return
        self.put_in[answer.json["id"]] += body["stock"] if path == "/products" else body["delta"]

    def get(self, service: str, path: str) -> Any:
        return self.call(service, "GET", path).expect(200).json

    def add_user(self, name: str = "Ada", email: str | None = None) -> int:
        email = email or f"{name.lower()}.{self._next_number('users')}@shop.example"
        return self.call("users", "POST", "/users", {"name": name, "email": email}).expect(201).json["id"]

    def add_product(self, name: str = "teapot", *, stock: int = 10, price: int = 1999, capacity: Any = None) -> int:
        body = {"name": name, "price": price, "stock": stock, "capacity": capacity}
        return self.call("products", "POST", "/products", body).expect(201).json["id"]

    def adjust_stock(self, product: int, delta: int) -> Answer:
        return self.call("products", "POST", f"/products/{product}/stock", {"delta": delta})

    def ask_to_place_order(self, user: int, lines: dict[int, int], **headers: str) -> Answer:
        """`lines`: product → quantity. Headers with underscores for hyphens."""
        body = {"user_id": user, "lines": [{"product_id": p, "quantity": q} for p, q in lines.items()]}
        return self.call("orders", "POST", "/orders", body, headers=_headers(headers))

    def place_order(self, user: int, lines: dict[int, int]) -> int:
        return self.ask_to_place_order(user, lines).expect(201).json["order"]["id"]

    def cancel(self, order: int, **headers: str) -> Answer:
        return self.call("orders", "POST", f"/orders/{order}/cancel", headers=_headers(headers))

    def fulfil(self, order: int) -> Answer:
        return self.call("orders", "POST", f"/orders/{order}/fulfil")

    def remove_user(self, user: int, **headers: str) -> Answer:
        return self.call("users", "DELETE", f"/users/{user}", headers=_headers(headers))

    def stock_of(self, product: int) -> int:
        return self.get("products", f"/products/{product}")["stock"]

    def orders_of(self, user: int) -> dict[int, str]:
        """Order → status."""
        return {order["id"]: order["status"] for order in self.get("orders", f"/orders?user_id={user}")}

    def status_of_order(self, order: int) -> str:
        return self.get("orders", f"/orders/{order}")["status"]

    def status_of_user(self, user: int) -> str | None:
        """``active``, ``removing``, or None for a user who is not there."""
        answer = self.call("users", "GET", f"/users/{user}")
        return None if answer.status == 404 else answer.expect(200).json["status"]

    def transaction(self, service: str, transaction: str | UUID) -> dict[str, Any]:
        return self.get(service, f"/transactions/{transaction}")

    # ---- from behind

    def atomic(self, service: str) -> AtomicCommit:
        return self.apps[service].extensions["atomic_commit"]

    def query(self, service: str, statement: str, **parameters: Any) -> list[tuple[Any, ...]]:
        """Rows from a service's database (or none), in a transaction of its own."""
        with self.engines[service].begin() as connection:
            result = connection.execute(sa.text(statement), parameters)
            return [tuple(row) for row in result] if result.returns_rows else []

    def query_outside(self, service: str, statement: str) -> None:
        """A statement that PostgreSQL wants outside any transaction, from the hand of an administrator."""
        with self._admins[service].cursor() as cursor:
            cursor.execute(statement)

    @contextlib.contextmanager
    def admin(self, service: str) -> Iterator[Any]:
        """A cursor of an administrator, each statement by itself."""
        with self._admins[service].cursor() as cursor:
            yield cursor

    def reconnect(self, service: str) -> None:
        """The application's connections to its database are new ones from here on."""
        with self.apps[service].app_context():
            self.apps[service].extensions["sqlalchemy"].engine.dispose()

    def inquire(self) -> int:
        """One look of every service at what stands prepared in its database."""
        return sum(self.atomic(service).inquiry.look() for service in SERVICES)

    def prepared(self) -> list[str]:
        """The gids in pg_prepared_xacts, of all databases."""
        rows = self.query("users", "SELECT gid FROM pg_prepared_xacts ORDER BY prepared, gid")
        return [gid for (gid,) in rows]

    def undecided(self) -> dict[str, str]:
        return self._transactions("state = 'preparing'")

    def unsettled(self) -> dict[str, str]:
        return self._transactions("settled_at IS NULL")

    def _transactions(self, condition: str) -> dict[str, str]:
        return {
            f"{service}:{id}": f"{kind} {state}, attempt {attempt}, {error}"
            for service in COORDINATORS
            for id, kind, state, attempt, error in self.query(
                service, f"SELECT id, kind, state, attempt, error FROM transactions WHERE {condition}"
            )
        }

    def rows(self) -> dict[str, Any]:
        """Every row of every table of the shop: what must be the same before and after a request that is refused."""
        return {table: rows for service in SERVICES for table, rows in self._contents(service, TABLES[service]).items()}

    def everything(self) -> dict[str, Any]:
        """The same with the protocol's own rows."""
        found: dict[str, Any] = {"prepared": self.prepared()}
        for service in SERVICES:
            for table, rows in self._contents(service, (*TABLES[service], *PROTOCOL_TABLES)).items():
                found[f"{service}.{table}"] = rows
        return found

    def _contents(self, service: str, tables: tuple[str, ...]) -> dict[str, Any]:
        rows = ", ".join(f"(SELECT json_agg(t ORDER BY t::text) FROM {table} t)" for table in tables)
        return dict(zip(tables, self.query(service, f"SELECT {rows}")[0], strict=True))

    def imbalance(self) -> dict[int, str]:
        """The conservation law: for each product, stock + what its open orders hold = put in - fulfilled."""
        stock = dict(self.query("products", "SELECT id, stock FROM products"))
        held = self._quantities("status IN ('open', 'cancelling')")
        gone = self._quantities("status = 'fulfilled'")
        return {
            product: f"{stock[product]} in stock + {held[product]} held ≠ "
            f"{self.put_in[product]} put in - {gone[product]} fulfilled"
            for product in stock
            if stock[product] + held[product] != self.put_in[product] - gone[product]
        }

    def orphans(self) -> list[int]:
        """Open orders of users who are not there: there is none, ever."""
        users = {id for (id,) in self.query("users", "SELECT id FROM users")}
        open_orders = self.query("orders", "SELECT id, user_id FROM orders WHERE status IN ('open', 'cancelling')")
        return [order for order, user in open_orders if user not in users]

    def _quantities(self, condition: str) -> Counter[int]:
        return Counter(
            dict(
                self.query(
                    "orders",
                    "SELECT product_id, sum(quantity) FROM order_lines JOIN orders ON orders.id = order_id"
                    f" WHERE {condition} GROUP BY product_id",
                )
            )
        )

    @contextlib.contextmanager
    def locked(self, service: str, statement: str, **parameters: Any) -> Iterator[None]:
        """Somebody else's transaction that has done `statement` and stays open."""
        with self.engines[service].connect() as connection:
            connection.execute(sa.text(statement), parameters)
            yield
            connection.rollback()

    # ---- the protocol, step by step

    def begin(self, service: str, kind: str, **arguments: Any) -> TransactionRecord:
        """Accept a transaction whose messages are lost: what follows is done by hand, or not at all."""
        with self.post.loses():
            return self.atomic(service).begin(kind, arguments)

    @contextlib.contextmanager
    def all_stand_in_line(self) -> Iterator[None]:
        """Whoever begins waits, as if all attempts were taken; afterwards nobody has been let go yet."""
        with pytest.MonkeyPatch.context() as patch:
            insert = journal.insert_transaction
            patch.setattr(journal, "insert_transaction", lambda *a, **k: insert(*a, **{**k, "attempts_at_once": 0}))
            patch.setattr(Attempts, "next", lambda *_: None)
            yield

    def dispatch(self, service: str, kind: str) -> None:
        """Let those go that stand in line."""
        self.atomic(service).coordinator.dispatch(kind)

    def record(self, service: str, transaction: UUID) -> TransactionRecord:
        return self.atomic(service).coordinator.read(transaction)

    def gids(self, record: TransactionRecord) -> list[Gid]:
        """Of the present attempt's branches, in order."""
        return [Gid.parse(branch.task_id) for branch in record.current_branches]

    def handed_on(self, record: TransactionRecord, before: Gid | None = None) -> HandedOn:
        """What the chain hands to its first link, or what it hands on after `before`, by that one's stored result."""
        if before is None:
            return message(record)
        stored = self.celery.AsyncResult(str(before)).result
        assert isinstance(stored, dict), f"{before} has no result but {stored!r}"
        return cast(HandedOn, stored)

    def prepare(self, gid: Gid, handed_on: HandedOn) -> HandedOn:
        """Run one link of the chain as a worker does, with its result stored (over an earlier one of the same task, if
        that is not a SUCCESS); the links behind it are not called. Raises what the branch raises."""
        task = self.celery.tasks[INSTALLATION.branch_task(gid.branch)]
        done = task.apply(
            args=(handed_on,),
            kwargs={"gid": str(gid), "database": self.database_of(gid)},
            task_id=str(gid),
        )
        if isinstance(done.result, Exception):
            raise done.result
        return cast(HandedOn, done.result)

    def prepare_all(self, record: TransactionRecord) -> HandedOn:
        """Every link of the chain but the last, ``decide``. Returns what would be handed to it."""
        handed_on = self.handed_on(record)
        for gid in self.gids(record):
            handed_on = self.prepare(gid, handed_on)
        return handed_on

    def abort(self, service: str, record: TransactionRecord) -> bool:
        """Decide against it, whatever its branches say; they are not told. Returns whether it was undecided."""
        return self.atomic(service).coordinator.decider.abort(attempt_of([record]))

    def send_outcomes(self, service: str, transaction: UUID) -> None:
        """Tell the participants that still owe an answer."""
        record = self.record(service, transaction)
        self.atomic(service).messages.send_outcomes(record.owed_branches, record.read_at)

    def database_of(self, gid: Gid) -> str:
        """The id of the database in which this branch belongs."""
        return self.atomic(service_of(gid.branch)).identity.database()

    def participant_of(self, gid: Gid) -> Any:
        return self.atomic(service_of(gid.branch)).participant

    def time_passes(self, seconds: float) -> None:
        """Move every clock of every journal."""
        moved = ", ".join(
            f"{column} = {column} - make_interval(secs => {seconds})"
            for column in ("deadline", "patience_until", "next_look_at", "waits_until")
        )
        for service in SERVICES:
            self.query(service, f"UPDATE transactions SET {moved}")

    def time_passes_for(self, service: str, transaction: UUID, seconds: float) -> None:
        """The same for one transaction; where another one's row is held by somebody, who would be waited for."""
        self.query(
            service,
            "UPDATE transactions SET next_look_at = next_look_at - make_interval(secs => :by),"
            " waits_until = waits_until - make_interval(secs => :by) WHERE id = :id",
            by=seconds,
            id=transaction,
        )

    def deadline_passes(self) -> None:
        """The time is up for whatever is undecided. (To move all clocks as far at once would say that nobody has
        looked for ten minutes, which is another thing.)"""
        for service in SERVICES:
            self.query(service, "UPDATE transactions SET deadline = clock_timestamp() WHERE state = 'preparing'")

    def sweep(self) -> int:
        """One look of recovery in every service, at what is due."""
        return sum(self.atomic(service).sweeper.sweep() for service in SERVICES)

    def recover(self, *, rounds: int = 10) -> None:
        """Recovery as it is in a shop that runs, some seconds between the looks, until nothing is unsettled."""
        for _ in range(rounds):
            if not self.unsettled():
                return
            self.time_passes(8)
            self.sweep()
        assert not self.unsettled(), self.tell()

    def tell(self) -> str:
        """All transactions, for a message of a failed assertion."""
        told = [
            f"{service}: {json.dumps(transaction, indent=1)}"
            for service in COORDINATORS
            for transaction in self.get(service, "/transactions?limit=500")
        ]
        return "\n".join([*told, f"prepared: {self.prepared()}"])

    # ---- between tests

    def clear(self) -> None:
        """Empty, whatever the test before has left."""
        self.post.mode, self.post.lost = "delivers", []
        self.put_in.clear()
        for service in COORDINATORS:
            self.atomic(service).messages._epochs.clear()
        for service, connection in self._admins.items():
            tables = ", ".join((*TABLES[service], *PROTOCOL_TABLES))
            with connection.cursor() as cursor:
                cursor.execute("SELECT gid FROM pg_prepared_xacts WHERE database = current_database()")
                for (gid,) in cursor.fetchall():
                    cursor.execute("ROLLBACK PREPARED %s", (gid,))
                cursor.execute(f"TRUNCATE {tables} RESTART IDENTITY")
                cursor.execute("UPDATE database_identity SET paused_at = NULL, paused_because = NULL, forked_at = NULL")

    def _next_number(self, table: str) -> int:
        [(number,)] = self.query(table, f"SELECT coalesce(max(id), 0) + 1 FROM {table}")
        return number


def message(record: TransactionRecord, *prepared: Gid, **values: Any) -> HandedOn:
    """What the chain carries for a transaction that is alone: these gids, and its values with these added."""
    return {
        "prepared": dict.fromkeys(map(str, prepared), str(UUID(int=0))),
        "members": {str(record.id): {**record.values, **values}},
        "dropped": {},
    }


def committed(record: TransactionRecord) -> bool:
    return record.state is State.COMMITTED


def _headers(given: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in given.items()}


def _administrator(url: str) -> Any:
    connection = psycopg2.connect(url, options="-c lock_timeout=5s")
    connection.autocommit = True
    return connection


def _with_driver(url: str) -> str:
    return url.replace("postgresql://", "postgresql+psycopg2://", 1)
