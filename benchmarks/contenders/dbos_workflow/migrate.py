"""DBOS's tables, in its own database and in the services': ``python -m ….dbos_workflow.migrate``."""

from __future__ import annotations

import os

from dbos import SQLAlchemyDatasource, run_dbos_database_migrations

if __name__ == "__main__":
    run_dbos_database_migrations(os.environ["DBOS_URL"])
    for service in ("users", "orders", "products"):
        SQLAlchemyDatasource.migrate(os.environ[f"{service.upper()}_URL"])
