"""How contenders reach the services' databases: the shop's own connection settings, for all of them."""

from __future__ import annotations

import os
from functools import cache

import sqlalchemy as sa
from sqlalchemy.orm import Session

from atomic_commit import Limits
from atomic_commit.postgres.database import engine_options

_POOL_SIZE = 16
_FOR_PSYCOPG2 = ("executemany_mode", "pool_events")


@cache
def engine(service: str, driver: str = "psycopg2") -> sa.Engine:
    """The service's database, from ``USERS_URL`` and so on."""
    url = os.environ[f"{service.upper()}_URL"].replace("postgresql:", f"postgresql+{driver}:", 1)
    options = engine_options(Limits(), _POOL_SIZE)
    if driver != "psycopg2":
        options = {name: value for name, value in options.items() if name not in _FOR_PSYCOPG2}
    return sa.create_engine(url, **options)


def session(service: str) -> Session:
    return Session(engine(service))
