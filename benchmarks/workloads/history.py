"""The removal with no history, and with a long one in the journal and among the branch rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import sqlalchemy as sa

from benchmarks.contenders.ours import Ours
from benchmarks.figures import Run
from benchmarks.measure import Bench
from benchmarks.options import Options

# The rows as they look after weeks of use are sweep_cost's: both measure with the same history.
from benchmarks.sweep_cost import _FILL, _FILL_BRANCH_ROWS, _MONTH, _WEEK
from benchmarks.workloads.attempt import attempt
from benchmarks.workloads.workers import measure_saturation

NAME = "history"
_PIECE = 50_000


def runs(options: Options) -> Iterator[Run]:
    for number in range(1, options.rounds + 1):
        for rows in (0, options.history):
            label = f"{rows:,} settled transactions"
            with options.folder(label) as folder:
                make = partial(Ours, folder, options.environment)
                yield attempt(NAME, label, number, make, options, partial(_measure, rows))


def _measure(rows: int, bench: Bench, options: Options, run: Run) -> None:
    if rows:
        fill(bench.contender.admin_url, rows)
    measure_saturation(bench, options, run)


def fill(admin_url: Callable[[str], str], rows: int) -> None:
    """So many settled transactions within their age in users' journal, and a branch row of each in the others."""
    for service, statement, oldest in (
        ("users", _FILL, _WEEK),
        ("orders", _FILL_BRANCH_ROWS, _MONTH),
        ("products", _FILL_BRANCH_ROWS, _MONTH),
    ):
        engine = sa.create_engine(admin_url(service).replace("postgresql:", "postgresql+psycopg2:", 1))
        for start in range(0, rows, _PIECE):
            count = min(_PIECE, rows - start)
            ages = [oldest * (0.9 - 0.8 * done / rows) for done in (start, start + count)]
            _add(engine, statement, count, *ages)
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("VACUUM ANALYZE")
            connection.exec_driver_sql("CHECKPOINT")  # now, and not while it is measured
        engine.dispose()


def _add(engine: sa.Engine, statement: str, rows: int, oldest: float, youngest: float) -> None:
    """Without looking at each foreign key, which would take most of the time."""
    with engine.begin() as connection:
        connection.exec_driver_sql("SET LOCAL session_replication_role = replica")
        connection.execute(sa.text(statement), {"rows": rows, "oldest": oldest, "youngest": youngest})
