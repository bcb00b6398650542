"""Customers who put up with little: which answers they may get while containers are restarted beneath them."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from http.client import HTTPException

from tests.broker.http_calls import Answer, call
from tests.crash.clients import Market
from tests.crash.containers import Containers
from tests.crash.history import History


@dataclass(frozen=True)
class Unanswered:
    """A request that found no connection, or lost it."""

    began: float
    ended: float
    what: str


class StrictMarket(Market):
    """Writes down every answer that is none of these: 2xx; 404 and 409 with a reason; 503 with Retry-After."""

    def __init__(self, shop: Containers, history: History) -> None:
        self.improper: list[str] = []
        self.unanswered: list[Unanswered] = []
        self.statuses: Counter[int] = Counter()
        super().__init__(shop, history)  # type: ignore[arg-type]

    def asked(self, method: str, service: str, path: str, body: object = None, **headers: str) -> Answer | None:
        began = time.time()
        try:
            answer = call(method, self.shop.url(service) + path, body, **headers)
        except (OSError, HTTPException) as error:
            with self.lock:
                self.unanswered.append(Unanswered(began, time.time(), f"{method} {service} {path}: {error!r}"))
            time.sleep(0.2)
            return None
        with self.lock:
            self.statuses[answer.status] += 1
            if not is_proper(answer):
                moment = time.strftime("%H:%M:%S", time.gmtime())
                self.improper.append(f"{moment} {method} {service} {path}: {answer} {answer.headers}")
        if answer.status == 503:
            time.sleep(1)
        return answer

    def unanswered_outside(self, windows: list[tuple[float, float]]) -> list[str]:
        """The requests without an answer that no window of time excuses."""
        return [
            lost.what
            for lost in self.unanswered
            if not any(lost.began <= closed and opened <= lost.ended for opened, closed in windows)
        ]


def is_proper(answer: Answer) -> bool:
    headers = {name.lower(): value for name, value in answer.headers.items()}
    if 200 <= answer.status < 300:
        return True
    if headers.get("content-type") != "application/problem+json":
        return False
    if answer.status in (404, 409):
        return bool(answer.body.get("reason") or answer.body.get("detail"))
    return answer.status == 503 and "retry-after" in headers
