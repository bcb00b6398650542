"""What gunicorn answers by itself, before there is a request: problems too, and nothing of what was sent."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from local_servers.settings import HOST, free_port

ROOT = Path(__file__).parents[3]
SENT = "s3cr3t"

#: Content with every GET; of a POST it reads the body, as the services do.
APP = """
import flask
from http_api.app import install
from http_api.blueprint import Blueprint
from http_api.schemas import StrictSchema

app = flask.Flask(__name__)
blueprint = Blueprint("content", __name__)

@app.get("/")
def get():
    return "ok"

@blueprint.post("/")
@blueprint.arguments(StrictSchema)
def post(body):
    return "ok"

install(app, title="Content", checks={}).register_blueprint(blueprint)
"""
#: The services' settings, with little patience.
CONFIG = """
import http_api.gunicorn_conf
http_api.gunicorn_conf.REQUEST_WITHIN = 1.5
from http_api.gunicorn_conf import *
"""


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A real gunicorn with the services' settings, and an app that is content with everything."""
    folder, port = tmp_path_factory.mktemp("served"), free_port()
    (folder / "content.py").write_text(APP)
    (folder / "impatient.py").write_text(CONFIG)
    argv = [sys.executable, "-m", "gunicorn", "--config", "python:impatient", "content:app"]
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
    with socket.create_connection((HOST, port), timeout=10) as client:
        client.sendall(request)
        said = b""
        while more := client.recv(65536):
            said += more
    assert said, "not a word, only a closed connection"
    head, _, body = said.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    return int(first.split()[1]), {name.lower(): value for name, value in (line.split(": ") for line in lines)}, body


GET = b"GET / HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n"
POST = b"POST / HTTP/1.1\r\nHost: shop\r\nConnection: close\r\nContent-Type: application/json\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"

UNREADABLE = {
    "no-request-line": (b"s3cr3t\r\n\r\n", 400),
    "no-such-version": (b"GET / HTTP/s3cr3t\r\nHost: shop\r\n\r\n", 400),
    "a-method-in-lower-case": (b"s3cr3t / HTTP/1.1\r\nHost: shop\r\n\r\n", 400),
    "a-line-that-is-too-long": (b"GET /" + b"s3cr3t" * 2000 + b" HTTP/1.1\r\nHost: shop\r\n\r\n", 414),
    "a-header-that-is-none": (GET + b"s3cr3t\r\n\r\n", 400),
    "a-header-with-a-bad-name": (GET + b"s3 cr3t: x\r\n\r\n", 400),
    "a-header-that-is-too-long": (GET + b"X: " + b"s3cr3t" * 2000 + b"\r\n\r\n", 431),
    "too-many-headers": (GET + b"".join(b"X-%d: s3cr3t\r\n" % n for n in range(200)) + b"\r\n", 431),
    "an-unknown-coding": (GET + b"Transfer-Encoding: s3cr3t\r\n\r\n", 501),
    "an-unknown-expectation": (GET + b"Expect: s3cr3t\r\n\r\n", 417),
    "a-version-of-the-future": (b"GET /s3cr3t HTTP/9.9\r\nHost: shop\r\n\r\n", 400),
    "http-2-to-begin-with": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "tls": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 99 + b"\r\n\r\n", 400),
    "a-nul-in-a-header": (GET + b"X: s3cr3t\x00\r\n\r\n", 400),
    "a-nul-in-the-path": (b"GET /s3cr3t\x00 HTTP/1.1\r\nHost: shop\r\n\r\n", 400),
    "a-folded-header": (GET + b"X: a\r\n s3cr3t\r\n\r\n", 400),
    "lines-without-cr": (b"GET /s3cr3t HTTP/1.1\nHost: shop\n\n", 400),
    "two-hosts": (GET + b"Host: s3cr3t\r\n\r\n", 400),
    "two-content-types": (POST + b"Content-Type: s3cr3t\r\n\r\n", 400),
    "a-length-that-is-no-number": (POST + b"Content-Length: s3cr3t\r\n\r\n", 400),
    "an-empty-length": (POST + b"Content-Length:\r\n\r\n", 400),
    "a-negative-length": (POST + b"Content-Length: -1\r\n\r\n", 400),
    "a-signed-length": (POST + b"Content-Length: +2\r\n\r\n{}", 400),
    "a-length-in-superscript": (POST + b"Content-Length: \xb2\r\n\r\n{}", 400),
    "an-endless-length": (POST + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n{}", 400),
    "a-list-of-lengths": (POST + b"Content-Length: 2, 2\r\n\r\n{}", 400),
    "two-lengths": (POST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{} ", 400),
    "the-same-length-twice": (POST + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}", 400),
    "a-length-and-chunks": (POST + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", 400),
    "chunked-twice": (POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 400),
    "chunked-but-not-last": (POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n", 400),
    "chunks-before-there-were-any": (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "nothing": (b"\r\n\r\n\r\n", 400),
    "half-a-request-line": (b"GET /s3cr3t", 408),
    "half-a-header": (GET + b"X: s3cr3t", 408),
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


BROKEN_BODIES = {
    "a-chunk-of-no-size": CHUNKED + b"s3cr3t\r\n{}\r\n0\r\n\r\n",
    "a-negative-chunk": CHUNKED + b"-2\r\n{}\r\n0\r\n\r\n",
    "a-chunk-that-is-longer": CHUNKED + b"2\r\n{}s3cr3t\r\n0\r\n\r\n",
    "a-bad-extension": CHUNKED + b"2;s3 cr3t\r\n{}\r\n0\r\n\r\n",
    "a-bad-trailer": CHUNKED + b"2\r\n{}\r\n0\r\ns3cr3t\r\n\r\n",
    "half-a-chunk": CHUNKED + b"20\r\n{s3cr3t",
    "half-a-body": POST + b"Content-Length: 20\r\n\r\n{s3cr3t",
}


@pytest.mark.parametrize("request_bytes", BROKEN_BODIES.values(), ids=BROKEN_BODIES.keys())
def test_a_body_that_can_not_be_read_is_the_apps_to_answer_with_a_problem(port: int, request_bytes: bytes) -> None:
    seen, headers, body = answered(port, request_bytes)
    assert (seen, headers["content-type"]) == (400, "application/problem+json"), body
    assert json.loads(body)["type"] == "/problems/malformed-json"
    assert SENT not in body.decode()


def test_who_sends_a_byte_now_and_then_does_not_get_more_time(port: int) -> None:
    """A thread is held no longer than that."""
    began = time.monotonic()
    with socket.create_connection((HOST, port), timeout=0.3) as client:
        client.sendall(GET)
        said = b""
        while not said and time.monotonic() < began + 10:
            client.sendall(b"X")
            with contextlib.suppress(TimeoutError):
                said = client.recv(65536)
    assert said.startswith(b"HTTP/1.1 408 "), said


def test_a_connection_may_be_silent_between_two_requests(port: int) -> None:
    with socket.create_connection((HOST, port), timeout=10) as client:
        for pause in (2, 0):  # more than the patience with a request
            client.sendall(b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n")
            said = b""
            while more := b"" if said.endswith(b"ok") else client.recv(65536):
                said += more
            assert said.startswith(b"HTTP/1.1 200 "), said
            time.sleep(pause)


def test_a_method_that_nobody_knows_is_the_apps_to_answer(port: int) -> None:
    seen, headers, _ = answered(port, GET.replace(b"GET", b"BREW") + b"\r\n")
    assert (seen, headers["content-type"]) == (405, "application/problem+json")


def test_what_can_be_read_is_the_apps_to_answer(port: int) -> None:
    assert answered(port, GET + b"\r\n")[2] == b"ok"
