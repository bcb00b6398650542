"""`python -m examples.trip.migrate SERVICE`: make the tables of a service, the engine's and its own."""

from __future__ import annotations

import sys
from importlib import import_module


def main(service: str) -> None:
    """What is there already stays as it is."""
    atomic = import_module(f"examples.trip.{service}").atomic
    tables = import_module(f"examples.trip.{service}.tables").TABLES
    atomic.migrate()
    with atomic.engine.begin() as connection:
        connection.exec_driver_sql(tables)


if __name__ == "__main__":
    main(sys.argv[1])
