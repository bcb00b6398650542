"""One HTTP call and its answer, with nothing between the test and the wire."""

from __future__ import annotations

import http.client
import json
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

#: No call may take longer: the longest wait that a client can ask for is 30 s.
PATIENCE = 40.0


@dataclass(frozen=True)
class Answer:
    """What a service answered, and how long that took."""

    status: int
    headers: dict[str, str]
    body: Any
    seconds: float

    @property
    def transaction(self) -> str:
        """The id of the transaction that the answer tells of."""
        return str(self.body["transaction"]["id"])

    @property
    def order_id(self) -> int:
        """The order that a placing or a cancellation answers with."""
        return int(self.body["order"]["id"])

    def __str__(self) -> str:
        return f"{self.status} after {self.seconds:.1f} s: {json.dumps(self.body)[:2000]}"


def call(method: str, url: str, body: object = None, **headers: str) -> Answer:
    """Send one request; `headers` with underscores for hyphens. Raises OSError or HTTPException where none answers."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    if body is not None:
        sent["Content-Type"] = "application/json"
    parts = urlsplit(url)
    began = time.monotonic()
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=PATIENCE)
    try:
        target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        connection.request(method, target, None if body is None else json.dumps(body), sent)
        response = connection.getresponse()
        text = response.read()
        found = dict(response.getheaders())
    finally:
        connection.close()
    return Answer(response.status, found, json.loads(text) if text else None, time.monotonic() - began)
