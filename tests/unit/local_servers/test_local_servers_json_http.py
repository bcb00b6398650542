"""One HTTP call: what comes back, and what is said where that is not what was needed."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from local_servers.json_http import CallFailed, NoAnswer, call
from local_servers.readiness import readiness


@contextmanager
def server(answer: bytes) -> Iterator[str]:
    """Its URL. It answers one request with these bytes, and closes the connection."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection, connection.makefile("rb") as request:
                head = b"".join(iter(request.readline, b"\r\n"))
                length = int(re.findall(rb"Content-Length: (\d+)", head)[0]) if head.startswith(b"POST") else 0
                connection.sendall(answer.replace(b"ECHO", head.replace(b"\r\n", b"|") + request.read(length)))

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        thread.join()


def test_json_goes_there_and_a_header_with_it() -> None:
    with server(b"HTTP/1.1 200 OK\r\n\r\nECHO") as url:
        said = call("POST", f"{url}/things?limit=1", {"a": 1}, {"Prefer": "wait=1"}).content
    assert said.startswith(b"POST /things?limit=1 HTTP/1.1|")
    assert b"|Content-Type: application/json|Prefer: wait=1|" in said
    assert said.endswith(b'|{"a": 1}')


def test_any_status_is_an_answer_and_an_unexpected_one_is_said_with_all_that_was_seen() -> None:
    with server(b'HTTP/1.1 409 No\r\nRetry-After: 2\r\n\r\n{"reason": "no_room"}') as url:
        said = call("GET", url)
    assert (said.expect(409).headers["retry-after"], said.body) == ("2", {"reason": "no_room"})
    with pytest.raises(CallFailed, match=rf'^GET {url}: answered 409 after .* s: {{"reason": "no_room"}}, not 200$'):
        said.expect(200)


def test_what_is_no_json_is_said_where_json_is_asked_for() -> None:
    with server(b"HTTP/1.1 200 OK\r\n\r\n<html>") as url:
        said = call("GET", url)
    with pytest.raises(CallFailed, match=f"^GET {url}: answered no JSON: 200 after .* s: <html>$"):
        _ = said.body


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{", b"nonsense\r\n"])
def test_an_answer_that_breaks_off_is_none(answer: bytes) -> None:
    with server(answer) as url, pytest.raises(NoAnswer, match=f"^GET {url}: [A-Za-z]+: "):
        call("GET", url)


def test_where_nobody_listens_or_speaks_there_is_no_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(NoAnswer, match=f"^GET {url}: TimeoutError: "):
            call("GET", url, patience=0.05)
    assert readiness({"any": url}) == {"any": "does not answer: ConnectionRefusedError"}
