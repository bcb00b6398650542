"""What waiting may heal, what is lost, and what is neither: told by SQLSTATE."""

from __future__ import annotations

import pytest
from sqlalchemy.exc import OperationalError

from atomic_commit.errors import is_conflict, is_lost


class ServerError(Exception):
    """As psycopg2's: the SQLSTATE is in ``pgcode``."""

    def __init__(self, pgcode: str | None) -> None:
        super().__init__(pgcode)
        self.pgcode = pgcode


@pytest.mark.parametrize(
    ("pgcode", "conflict", "lost"),
    [
        ("40001", True, False),  # serialization failure
        ("40P01", True, False),  # deadlock
        ("55P03", True, False),  # lock_timeout
        ("57014", True, False),  # statement_timeout
        ("53100", True, False),  # disk full
        ("53200", True, False),  # out of memory; no slot for a prepared transaction
        ("53300", True, False),  # too many connections
        ("57P01", False, True),  # the server is being shut down
        ("57P03", False, True),  # it is starting
        ("08006", False, True),  # connection failure
        (None, False, True),  # the connection was lost on our side
        ("23505", False, False),  # unique violation
        ("42P01", False, False),  # no such table
        ("58030", False, False),  # the disk is broken, not full
    ],
)
def test_an_error_of_the_database_is_a_conflict_lost_or_neither(pgcode: str | None, conflict: bool, lost: bool) -> None:
    error = OperationalError("SELECT 1", {}, ServerError(pgcode))
    assert (is_conflict(error), is_lost(error)) == (conflict, lost)
