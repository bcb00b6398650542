"""What gunicorn answers by itself, before there is a request: problems too, and nothing of what was sent."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from embedded.settings import HOST, free_port

ROOT = Path(__file__).parents[2]
APP = "def app(environ, start):\n    start('200 OK', [('Content-Length', '2')])\n    return [b'ok']\n"
SENT = "s3cr3t"


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A real gunicorn with the services' settings, and an app that is content with everything."""
    folder, port = tmp_path_factory.mktemp("served"), free_port()
    (folder / "content.py").write_text(APP)
    argv = [sys.executable, "-m", "gunicorn", "--config", "python:http_api.gunicorn_conf", "content:app"]
    environment = {"PATH": "/usr/bin:/bin", "PORT": str(port), "WEB_THREADS": "4", "PYTHONPATH": f"{ROOT}:{folder}"}
    server = subprocess.Popen(argv, env=environment, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 30
        while True:
            try:
                socket.create_connection((HOST, port), timeout=1).close()
                break
            except OSError:
                assert time.monotonic() < end, "gunicorn does not come up"
                time.sleep(0.05)
        yield port
    finally:
        server.terminate()
        server.wait(20)


def answered(port: int, request: bytes) -> tuple[int, dict[str, str], bytes]:
    with socket.create_connection((HOST, port), timeout=5) as client:
        client.sendall(request)
        said = b""
        while more := client.recv(65536):
            said += more
    head, _, body = said.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    return int(first.split()[1]), {name.lower(): value for name, value in (line.split(": ") for line in lines)}, body


GET = b"GET / HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n"
POST = b"POST / HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n"

UNREADABLE = {
    "no-request-line": (b"s3cr3t\r\n\r\n", 400),
    "no-such-version": (b"GET / HTTP/s3cr3t\r\nHost: shop\r\n\r\n", 400),
    "a-method-in-lower-case": (b"s3cr3t / HTTP/1.1\r\nHost: shop\r\n\r\n", 400),
    "a-line-that-is-too-long": (b"GET /" + b"s3cr3t" * 2000 + b" HTTP/1.1\r\nHost: shop\r\n\r\n", 414),
    "a-header-that-is-none": (GET + b"s3cr3t\r\n\r\n", 400),
    "a-header-with-a-bad-name": (GET + b"s3 cr3t: x\r\n\r\n", 400),
    "a-header-that-is-too-long": (GET + b"X: " + b"s3cr3t" * 2000 + b"\r\n\r\n", 431),
    "too-many-headers": (GET + b"".join(b"X-%d: s3cr3t\r\n" % n for n in range(200)) + b"\r\n", 431),
    "a-folded-header": (GET + b"X: a\r\n s3cr3t\r\n\r\n", 400),
    "a-header-with-a-nul": (GET + b"X: s3cr3t\x00\r\n\r\n", 400),
    "two-hosts": (GET + b"Host: s3cr3t\r\n\r\n", 400),
    "a-target-that-is-none": (b"GET http://[s3cr3t/ HTTP/1.1\r\nHost: shop\r\n\r\n", 400),
    "a-length-that-is-no-number": (POST + b"Content-Length: s3cr3t\r\n\r\n", 400),
    "a-length-below-zero": (POST + b"Content-Length: -5\r\n\r\n", 400),
    "a-length-beyond-all-numbers": (POST + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n", 400),
    "two-lengths": (POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400),
    "a-list-of-lengths": (POST + b"Content-Length: 1, 1\r\n\r\na", 400),
    "a-length-and-a-coding": (POST + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "an-unknown-coding": (GET + b"Transfer-Encoding: s3cr3t\r\n\r\n", 501),
    "an-unknown-expectation": (GET + b"Expect: s3cr3t\r\n\r\n", 417),
}


@pytest.mark.parametrize(("request_bytes", "status"), UNREADABLE.values(), ids=UNREADABLE.keys())
def test_what_can_not_be_read_is_answered_with_a_problem(port: int, request_bytes: bytes, status: int) -> None:
    seen, headers, body = answered(port, request_bytes)
    assert seen == status, body
    assert headers["content-type"] == "application/problem+json", (headers, body)
    assert "server" not in headers
    problem = json.loads(body)
    assert (problem["type"], problem["status"]) == ("about:blank", status)
    assert problem["title"]
    assert problem["detail"]
    assert SENT not in body.decode()


def test_what_can_be_read_is_the_apps_to_answer(port: int) -> None:
    assert answered(port, GET + b"\r\n")[2] == b"ok"
