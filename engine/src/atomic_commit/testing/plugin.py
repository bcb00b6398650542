"""The pytest plugin: installed with the package, it gives these fixtures.

``atomic_line``          an ``EagerLine``: services in one process, on real databases, forgotten after the test
``atomic_failpoints``    a folder of failpoints for processes that the test starts
``atomic_postgres_url``  the server for it, from ``ATOMIC_TEST_POSTGRES``; override it where you have one by other means
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from atomic_commit.testing.line import EagerLine

_VARIABLE = "ATOMIC_TEST_POSTGRES"


class Failpoints:
    """A folder in which failpoints are armed for the processes that have `variables` in their environment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def variables(self) -> dict[str, str]:
        """For the environment of a process."""
        return {"ATOMIC_FAILPOINTS": str(self.folder)}

    def arm(self, point: str, action: str = "kill") -> None:
        """The next process that reaches the point does this (``testing.failpoints`` has the actions and the points)."""
        from atomic_commit.testing.failpoints import FAILPOINTS

        if point not in FAILPOINTS:
            raise ValueError(f"{point} is not a failpoint; there are {', '.join(FAILPOINTS)}")
        (self.folder / point).write_text(action)

    def fired(self, point: str) -> bool:
        """Whether a process has reached the point and done what was asked."""
        return (self.folder / "fired" / point).exists()


@pytest.fixture(scope="session")
def atomic_postgres_url() -> str:
    """A PostgreSQL server with ``max_prepared_transactions`` above 0, as somebody who may make databases."""
    url = os.environ.get(_VARIABLE)
    if not url:
        pytest.fail(
            f"{_VARIABLE} is not set: give the URL of a PostgreSQL server whose max_prepared_transactions is above 0"
            " and where databases may be made and dropped; for example"
            f" {_VARIABLE}=postgresql://postgres:secret@127.0.0.1:5432/postgres. Or override the fixture"
            " atomic_postgres_url."
        )
    return url


@pytest.fixture
def atomic_line(atomic_postgres_url: str) -> Iterator[EagerLine]:
    """No services yet: ``atomic_line.service(…)`` adds them."""
    from atomic_commit.testing.line import EagerLine

    line = EagerLine(atomic_postgres_url)
    try:
        yield line
    finally:
        line.close()


@pytest.fixture
def atomic_failpoints(tmp_path: Path) -> Failpoints:
    """None is armed yet."""
    folder = tmp_path / "failpoints"
    folder.mkdir()
    return Failpoints(folder)
