"""What recovery, retention and the listing cost when a service has a history: ``python -m benchmarks.sweep_cost``.

The journal of one service is filled with settled transactions (two branches each, and two branch rows), as a table
looks that has been in use for weeks: filled, half of it removed and vacuumed, and filled again, so that young rows
stand where old ones stood. Then every operation is timed with no history, with little and with much, in one run on one
server, in turns with a ``SELECT 1`` that tells how busy the machine is just then: what counts is how the ratios to that
compare. Pages that were touched are counted beside it; they are the same on a busy machine. Exits with 1 where those
grow, or where a statement reads a whole table of the protocol.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy.orm import Session

from atomic_commit import Limits, journal
from atomic_commit.journal import records
from atomic_commit.journal.records import IdempotencyKey
from atomic_commit.journal.retention import remove_old
from celery_config import create_celery
from users_service import create_app

from .server import migrated_database

#: More than this many times the pages without history is growth. (An index of a million rows is a page or two deeper,
#: and rows that belong together stand in more places.)
_GROWS, _FEW_PAGES = 3.0, 50
#: A table that is not larger may well be read as a whole.
_SMALL = 100_000
_RUNS, _WARM_UP = 30, 3
#: Past their age at each size, so that retention has batches to remove while it is timed.
_BACKLOG = 15_000
_TABLES = ("transactions", "transaction_branches", "branch_rows")
#: Farther than anything is put off: what would be due by a clock that was moved back.
_FAR = 86400.0
_WEEK, _MONTH = 7 * 86400.0, 30 * 86400.0

_FILL = """
CREATE TEMP TABLE made ON COMMIT DROP AS
    SELECT gen_random_uuid() AS id, i,
        clock_timestamp() - make_interval(secs => :oldest - i * (:oldest - :youngest) / :rows) AS at
    FROM generate_series(1, :rows) AS i;
INSERT INTO transactions (id, kind, state, attempt, dispatched, "values", created_at, deadline, patience_until,
        decided_at, settled_at, idempotency_caller, idempotency_route, idempotency_key, fingerprint)
    SELECT id, 'remove_user', 'committed', 1, true, json_build_object('user_id', i), at, at + interval '10 minutes',
        at + interval '3 seconds', at + interval '20 ms', at + interval '40 ms',
        CASE WHEN i % 2 = 0 THEN 'me' END, CASE WHEN i % 2 = 0 THEN 'DELETE /users' END,
        CASE WHEN i % 2 = 0 THEN id::text END, 'f' FROM made ORDER BY id;
INSERT INTO transaction_branches (transaction_id, attempt, name, position, task_id, dispatched_at, status, vote,
        outcome, decided_at, settled_at)
    SELECT id, 1, name, position, 'shop.benchmark:users.remove_user:' || id || ':1:' || name, at, 'SUCCESS', 'yes',
        'commit', at + interval '20 ms', at + interval '40 ms'
    FROM made, (VALUES ('orders.cancel_user_orders', 0), ('products.restock', 1)) AS b (name, position) ORDER BY id;
"""
_FILL_BRANCH_ROWS = """
INSERT INTO branch_rows (transaction_id, attempt, branch, kind, created_at)
    SELECT gen_random_uuid(), 1, 'users.hold_active_user', 'done',
        clock_timestamp() - make_interval(secs => :oldest - i * (:oldest - :youngest) / :rows)
    FROM generate_series(1, :rows) AS i ORDER BY 1;
"""
_DUE = """
INSERT INTO transactions (id, kind, state, attempt, dispatched, "values", deadline, patience_until, next_look_at)
    SELECT gen_random_uuid(), 'remove_user', 'preparing', 1, true, '{}', now() + interval '1 hour',
        now() + interval '1 hour', now() - interval '1 second' FROM generate_series(1, :rows)
"""


@dataclass
class Measured:
    """What one operation cost at each size of the history."""

    #: median seconds
    medians: list[float] = field(default_factory=list)
    #: median seconds of a SELECT 1 at the same time
    controls: list[float] = field(default_factory=list)
    #: pages that its statements touched, which no busy machine changes
    pages: list[int] = field(default_factory=list)
    #: how its statements found their rows at the last size
    scans: set[str] = field(default_factory=set)

    @property
    def ratio(self) -> float:
        """How many times its cost without history the last one is, the machine being equally busy."""
        return self.medians[-1] / self.controls[-1] / (self.medians[0] / self.controls[0])

    @property
    def grows(self) -> bool:
        return self.pages[-1] > _GROWS * self.pages[0] + _FEW_PAGES

    @property
    def reads_all(self) -> set[str]:
        return {scan for scan in self.scans if scan.startswith("Seq Scan")}


class History:
    """One service's database with a history of some length."""

    def __init__(self, url: str, admin_url: str) -> None:
        self._admin = sa.create_engine(admin_url, isolation_level="AUTOCOMMIT")
        for setting in ("max_wal_size = '8GB'", "full_page_writes = off"):  # filling is not what is measured
            self._statement(f"ALTER SYSTEM SET {setting}")
        self._statement("SELECT pg_reload_conf()")
        celery = create_celery("users")
        celery.conf.update(broker_url="memory://", result_backend="cache+memory://")
        # So that a row that is put off by an hour is not taken for one whose clock was moved back.
        app = create_app(url=url, celery=celery, limits=Limits(look_after=3600.0))
        self.client = app.test_client()
        self.sweeper = app.extensions["atomic_commit"].sweeper
        with app.app_context():
            self.engine: sa.Engine = app.extensions["sqlalchemy"].engine

    def fill(self, rows: int) -> None:
        """Exactly `rows` settled transactions within their age, twice as many branch rows, and the backlog past it."""
        self._statement(f"TRUNCATE {', '.join(_TABLES)}")
        if rows:
            self._add(rows, 2 * _WEEK, _WEEK, 2 * _MONTH, _MONTH)
            self._remove_older_half()
            self._add(rows, 0.9 * _WEEK, 0.1 * _WEEK, 0.9 * _MONTH, 0.1 * _MONTH)
            self._remove_past_age()
        self._add(_BACKLOG, 2 * _WEEK, 1.1 * _WEEK, 2 * _MONTH, 1.1 * _MONTH)
        self._statement(_DUE, rows=200)
        for table in _TABLES:
            self._statement(f"VACUUM ANALYZE {table}")

    def _add(self, rows: int, oldest: float, youngest: float, oldest_row: float, youngest_row: float) -> None:
        """In pieces, each behind the one before: in the order in which a service would have written them."""
        pieces = max(1, rows // 50_000)
        for piece in range(pieces):
            with self._as_superuser() as connection:
                for sql, first, last, factor in (
                    (_FILL, oldest, youngest, 1),
                    (_FILL_BRANCH_ROWS, oldest_row, youngest_row, 2),
                ):
                    step = (first - last) / pieces
                    span = {"oldest": first - piece * step, "youngest": first - (piece + 1) * step}
                    connection.execute(sa.text(sql), {"rows": factor * rows // pieces, **span})

    @contextmanager
    def _as_superuser(self) -> Iterator[sa.Connection]:
        """One local transaction in which foreign keys are not checked: that would take most of the time."""
        with self._admin.connect() as connection:
            connection.execution_options(isolation_level="READ COMMITTED")
            with connection.begin():
                connection.exec_driver_sql("SET LOCAL session_replication_role = replica")
                yield connection

    def _remove_older_half(self) -> None:
        self._remove(1.5 * _WEEK, 1.5 * _MONTH)

    def _remove_past_age(self) -> None:
        self._remove(_WEEK, _MONTH)

    def _remove(self, age: float, branch_row_age: float) -> None:
        """What retention would have removed, and autovacuum vacuumed, in quicker statements."""
        old = "settled_at < now() - make_interval(secs => :age)"
        with self._as_superuser() as connection:
            connection.execute(sa.text(f"DELETE FROM transaction_branches WHERE {old}"), {"age": age})
            connection.execute(sa.text(f"DELETE FROM transactions WHERE {old}"), {"age": age})
            connection.execute(
                sa.text("DELETE FROM branch_rows WHERE created_at < now() - make_interval(secs => :age)"),
                {"age": branch_row_age},
            )
        for table in _TABLES:
            self._statement(f"VACUUM {table}")

    def _statement(self, statement: str, **parameters: Any) -> None:
        with self._admin.connect() as connection:
            connection.execute(sa.text(statement), parameters)

    # ---- what is timed

    def operations(self) -> dict[str, Callable[[], Any]]:
        """Each leaves what the next finds, but for retention's batches, which come last."""
        return {
            "a claim with 50 due": self._claim,
            "an idle sweep": self._idle_sweep,
            "`GET /transactions?limit=50`": lambda: self._get("?limit=50"),
            "`GET /transactions?state=preparing`": lambda: self._get("?state=preparing"),
            "`GET /transactions?state=aborted`, of which there are none": lambda: self._get("?state=aborted"),
            "`GET /transactions?state=quarantined`, of which there are none": lambda: self._get("?state=quarantined"),
            "a look for an idempotency key": self._by_key,
            "a retention pass that finds nothing": self._idle_retention,
            "a retention pass that removes a batch of each": self._retention,
        }

    def control(self) -> None:
        with self.engine.connect() as connection:
            connection.exec_driver_sql("SELECT 1")

    def _claim(self) -> None:
        with Session(self.engine) as session:
            assert len(journal.claim_due(session, 50, (0.5,), (0.5,), _FAR)) == 50
            session.rollback()

    def _idle_sweep(self) -> None:
        assert self.sweeper.sweep() == 0

    def _get(self, query: str) -> None:
        assert self.client.get(f"/transactions{query}").status_code == 200

    def _by_key(self) -> None:
        with Session(self.engine) as session:
            assert records.read_by_key(session, IdempotencyKey("me", "DELETE /users", str(uuid4()), "f")) is None

    def _idle_retention(self) -> None:
        assert remove_old(self.engine, Limits(keep_transactions=_MONTH, keep_branch_rows=4 * _MONTH)) == 0

    def _retention(self) -> None:
        assert remove_old(self.engine, Limits()) == 2000

    def put_off(self) -> None:
        """Nothing is due from here on: a sweep is idle. And what the claims left behind is vacuumed."""
        self._statement("UPDATE transactions SET next_look_at = now() + interval '1 h' WHERE next_look_at IS NOT NULL")
        self._statement("VACUUM transactions")


def measure(history: History, found: dict[str, Measured]) -> None:
    for name, operation in history.operations().items():
        measured = found.setdefault(name, Measured())
        if operation == history._idle_sweep:
            history.put_off()
        with _statements(history.engine) as seen:
            operation()
        measured.scans, pages = explained(history.engine, seen)
        measured.pages.append(pages)
        runs = 10 if operation == history._retention else _RUNS
        times = [(_timed(operation), _timed(history.control)) for _ in range(_WARM_UP + runs)][_WARM_UP:]
        for medians, of_one in zip((measured.medians, measured.controls), zip(*times, strict=True), strict=True):
            medians.append(statistics.median(of_one))


def _timed(operation: Callable[[], Any]) -> float:
    began = time.perf_counter()
    operation()
    return time.perf_counter() - began


@contextmanager
def _statements(engine: sa.Engine) -> Iterator[list[tuple[str, Any]]]:
    """Every statement that the block executes, as the driver gets it."""
    seen: list[tuple[str, Any]] = []

    def note(_: Any, __: Any, statement: str, parameters: Any, ___: Any, many: bool) -> None:
        seen.append((statement, parameters))

    sa.event.listen(engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        sa.event.remove(engine, "before_cursor_execute", note)


def explained(engine: sa.Engine, statements: list[tuple[str, Any]]) -> tuple[set[str], int]:
    """How PostgreSQL finds the rows of the statements (the kinds of scan with their index, or table), and how many
    pages it touches for that. They are executed, and rolled back."""
    found: set[str] = set()
    pages = 0
    for statement, parameters in statements:
        with engine.connect() as connection:
            explain = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}"
            told = connection.exec_driver_sql(explain, parameters).scalar()
            connection.rollback()
        plan = (json.loads(told) if isinstance(told, str) else told)[0]["Plan"]
        found |= set(_scans_in(plan))
        pages += plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
    return found, pages


def _scans_in(node: dict[str, Any]) -> Iterator[str]:
    if "Index Name" in node:
        yield f"{node['Node Type']} {node['Index Name']}"
    elif node.get("Relation Name") in _TABLES and "Scan" in node["Node Type"] and "Bitmap" not in node["Node Type"]:
        yield f"{node['Node Type']} {node['Relation Name']}"
    for child in node.get("Plans", ()):
        yield from _scans_in(child)


def report(sizes: list[int], found: dict[str, Measured]) -> None:
    heads = [f"{size:,}" for size in sizes]
    print("\nMilliseconds, median, and in how many SELECT 1 of the same moment; by settled transactions.\n")
    print(f"| | {' | '.join(heads)} | last : first | pages, first → last | found by |")
    print("|---" * (len(sizes) + 4) + "|")
    for name, measured in found.items():
        times = " | ".join(
            f"{seconds * 1000:.2f} ({seconds / control:.1f})"
            for seconds, control in zip(measured.medians, measured.controls, strict=True)
        )
        pages = f"{measured.pages[0]:,} → {measured.pages[-1]:,}"
        print(f"| {name} | {times} | {measured.ratio:.1f} | {pages} | {', '.join(sorted(measured.scans))} |")
    print()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sweep_cost", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="settled transactions at the largest size")
    sizes = [0, 10_000, parser.parse_args().rows]
    found: dict[str, Measured] = {}
    logging.getLogger("atomic_commit").setLevel(logging.WARNING)
    with migrated_database("users") as (url, admin_url):
        history = History(url, admin_url)
        for size in sizes:
            began = time.monotonic()
            history.fill(size)
            print(f"filled with {size:,} in {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
            measure(history, found)
    report(sizes, found)
    wrong = [f"{name} grows: {m.pages[0]} → {m.pages[-1]} pages" for name, m in found.items() if m.grows]
    if sizes[-1] > _SMALL:
        wrong += [f"{name}: {', '.join(sorted(m.reads_all))}" for name, m in found.items() if m.reads_all]
    if "Index Scan transactions_due" not in found["a claim with 50 due"].scans:
        wrong.append("the claim does not use the partial index")
    print("\n".join(wrong) or "nothing grows, and no statement reads a whole table")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
