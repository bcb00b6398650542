"""Several requests that are let go together, so that their transactions share one attempt."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from types import TracebackType
from typing import Self

import psycopg2

from atomic_commit.journal import ADMISSION_LOCKS
from embedded.driver import Answer
from local_servers.json_http import NoAnswer
from tests.broker.waiting import wait_until

from .scenarios import Scene

_WAITING = "SELECT id FROM transactions WHERE kind = %s AND waits_until IS NOT NULL"


class Crowd:
    """The requests of these scenes, all of one kind. On entering it they stand in line: somebody holds the turn to form
    an attempt. ``let_go`` gives it back."""

    def __init__(self, scenes: Sequence[Scene]) -> None:
        self._scenes, self._keeper, self._kind = scenes, scenes[0].keeper, scenes[0].injection.kind
        self._service = "users" if self._kind == "remove_user" else "orders"
        self._threads = ThreadPoolExecutor(len(scenes))
        self._answers: list[Future[Answer | None]] = []

    def __enter__(self) -> Self:
        self._turn = psycopg2.connect(self._keeper.shop.admin_url(self._service))
        self._turn.autocommit = True
        with self._turn.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock(%s, hashtext(%s))", (ADMISSION_LOCKS, self._kind))
        self._answers = [self._threads.submit(_act, scene) for scene in self._scenes]
        rows = self._keeper.databases.rows
        wait_until(lambda: len(rows(self._service, _WAITING, self._kind)) == len(self._scenes), "all stand in line", 20)
        return self

    def let_go(self) -> list[Answer | None]:
        """Returns what each was told; None where the connection was lost."""
        self._turn.close()
        return [answer.result() for answer in self._answers]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._turn.close()
        self._threads.shutdown()


def _act(scene: Scene) -> Answer | None:
    with suppress(NoAnswer):
        return scene.act()
    return None
