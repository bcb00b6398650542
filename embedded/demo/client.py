"""HTTP as the story needs it: JSON there, JSON back, straight to this machine."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Any

from embedded.demo.errors import DemoFailed
from embedded.shop import Shop

TIMEOUT = 30.0


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    #: read from JSON
    body: Any
    #: from the request to the whole answer
    seconds: float


class Client:
    """Talks to the three APIs of a shop."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop

    def call(
        self,
        method: str,
        service: str,
        path: str,
        body: object = None,
        *,
        expect: int,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Raises DemoFailed when nobody answers, or with another status than the expected one."""
        began = monotonic()
        address = self._shop.url(service).removeprefix("http://")
        connection = http.client.HTTPConnection(address, timeout=TIMEOUT)
        sent = None if body is None else json.dumps(body)
        kind = {} if body is None else {"Content-Type": "application/json"}
        try:
            connection.request(method, path, sent, {**kind, **(headers or {})})
            response = connection.getresponse()
            answer = Answer(response.status, json.loads(response.read()), monotonic() - began)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise DemoFailed(f"{service}: {method} {path}: {error or type(error).__name__}", service) from error
        finally:
            connection.close()
        if answer.status != expect:
            said = json.dumps(answer.body, indent=1)
            raise DemoFailed(
                f"{service}: {method} {path} was answered {answer.status}, expected {expect}\n{said}", service
            )
        return answer

    def get(self, service: str, path: str) -> Any:
        """The body of a 200."""
        return self.call("GET", service, path, expect=200).body
