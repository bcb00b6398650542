"""Customers who put up with little: which answers they may get while containers are restarted beneath them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from embedded.driver import Answer, Driver
from local_servers.json_http import CallFailed
from tests.crash.clients import Market
from tests.crash.history import History


class StrictMarket(Market):
    """Writes down every answer that is none of these: 2xx; 404 and 409 with a reason; 503 with Retry-After. And every
    request without an answer: they stay away for as long as Retry-After says, so they are to find an open door."""

    def __init__(self, shop: Driver, history: History) -> None:
        self.improper: list[str] = []
        self.unanswered: list[str] = []
        self.statuses: Counter[int] = Counter()
        super().__init__(shop, history)

    def asked(self, request: Callable[..., Answer], *arguments: Any, **headers: str) -> Answer | None:
        try:
            answer = request(*arguments, **headers)
        except CallFailed as error:
            with self.lock:
                self.unanswered.append(f"{_now()} {error}")
            time.sleep(0.2)
            return None
        with self.lock:
            self.statuses[answer.status] += 1
            if not is_proper(answer):
                self.improper.append(f"{_now()} {answer} {answer.headers}")
        time.sleep(float(answer.headers["Retry-After"] or 0))
        return answer

    def served(self) -> int:
        """So many requests were answered with more than 503."""
        with self.lock:
            return self.statuses.total() - self.statuses[503]


def is_proper(answer: Answer) -> bool:
    if 200 <= answer.status < 300:
        return True
    if answer.headers["Content-Type"] != "application/problem+json":
        return False
    if answer.status in (404, 409):
        return bool(answer.body.get("reason") or answer.body.get("detail"))
    return answer.status == 503 and "Retry-After" in answer.headers


def _now() -> str:
    return time.strftime("%H:%M:%S", time.gmtime())
