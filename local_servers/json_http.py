"""One HTTP call, JSON there and back, straight to its server: no proxy from the environment, no redirect, no retry."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self
from urllib.parse import urlsplit

from local_servers.errors import LocalServersError


class CallFailed(LocalServersError):
    """A call did not bring what it had to. The message says method, URL, and what happened."""

    exit_code = 1

    def __init__(self, method: str, url: str, what: object) -> None:
        super().__init__(f"{method} {url}: {what}")
        self.url = url


class NoAnswer(CallFailed):
    """The connection was refused, lost, or silent for too long: nobody knows whether the request was carried out."""


@dataclass(frozen=True)
class Answer:
    """What came back, and after how many seconds. `headers` disregard case; one that is not there is None."""

    method: str
    url: str
    status: int
    headers: http.client.HTTPMessage
    content: bytes
    seconds: float

    @cached_property
    def body(self) -> Any:
        """The content, parsed; None where there is none. Raises CallFailed where it is no JSON."""
        try:
            return json.loads(self.content) if self.content else None
        except ValueError as error:
            raise CallFailed(self.method, self.url, f"answered no JSON: {self._words}") from error

    def expect(self, status: int) -> Self:
        """Itself. Raises CallFailed where the status is another one."""
        if self.status != status:
            raise CallFailed(self.method, self.url, f"answered {self._words}, not {status}")
        return self

    @property
    def _words(self) -> str:
        return f"{self.status} after {self.seconds:.1f} s: {self.content.decode(errors='replace')[:2000]}"

    def __str__(self) -> str:
        return f"{self.method} {self.url}: {self._words}"


def call(
    method: str, url: str, body: object = None, headers: Mapping[str, str] | None = None, *, patience: float = 40.0
) -> Answer:
    """Send one request. Whatever the status, an answer is returned. Raises NoAnswer, also after a silence of `patience`
    seconds."""
    kind = {} if body is None else {"Content-Type": "application/json"}
    parts, began = urlsplit(url), time.monotonic()
    connection = http.client.HTTPConnection(parts.netloc, timeout=patience)
    try:
        target = parts._replace(scheme="", netloc="").geturl()
        connection.request(method, target, None if body is None else json.dumps(body), {**kind, **(headers or {})})
        response = connection.getresponse()
        content = response.read()
    except (OSError, http.client.HTTPException) as error:
        raise NoAnswer(method, url, f"{type(error).__name__}: {error}") from error
    finally:
        connection.close()
    return Answer(method, url, response.status, response.headers, content, time.monotonic() - began)
