"""Gunicorn's settings for every service: `gunicorn -c python:http_api.gunicorn_conf "service:create_app()"`.

| variable      | default     | says                                          |
|---------------|-------------|-----------------------------------------------|
| `PORT`        | 8000        | the port                                      |
| `WEB_BIND`    | 127.0.0.1   | the address: 0.0.0.0 in a container           |
| `WEB_WORKERS` | 1           | processes                                     |
| `WEB_THREADS` | 128         | requests that each serves at once             |
| `WEB_DRAIN`   | 0           | seconds between the wish to stop and the stop |
"""

from __future__ import annotations

import http
import json
import os
import signal
import time
from typing import Any

import gunicorn.glogging
import gunicorn.http.parser
import gunicorn.http.unreader
import gunicorn.http.wsgi
import gunicorn.util

from http_api import admission
from http_api.prefer import LONGEST_WAIT
from http_api.problems import MEDIA_TYPE
from http_api.stopping import say_so_before

# Nobody but this machine, unless asked to.
bind = f"{os.environ.get('WEB_BIND', '127.0.0.1')}:{os.environ.get('PORT', '8000')}"

# A request mostly waits (for its decision, for the database), and waiting needs a thread, not a process.
worker_class = "gthread"
workers = int(os.environ.get("WEB_WORKERS", "1"))
# Half of them may wait for decisions (http_api.admission). Waiting costs next to nothing, and who waits together goes
# together.
threads = admission.threads()

# On stop: who waits for a decision still gets it. Whatever stops gunicorn must have more patience than this.
graceful_timeout = int(LONGEST_WAIT) + 5
# With threads this is no limit for a request: it is how long the worker's own loop may be silent before the
# process is taken for hung and replaced.
timeout = 30

# Longer than the 60 s for which proxies and client pools commonly keep an idle connection, so that they close
# it and not we, just as a request comes in. An idle connection occupies no thread.
keepalive = 65
# The heartbeat file in memory: on a slow disk its update can block the worker until it is taken for hung.
worker_tmp_dir = "/dev/shm" if os.path.isdir("/dev/shm") else None

# One readable line a request, on stdout, where whoever runs the process collects it.
accesslog = "-"
access_log_format = '%(t)s %(h)s "%(r)s" %(s)s %(B)sB %(M)sms'
# Its own words on stderr.
errorlog = "-"


class _WithoutHealth(gunicorn.glogging.Logger):  # type: ignore[misc]  # gunicorn has no types
    """Whoever watches asks several times a second, and is told "well" nearly always: only the rest is worth a line."""

    def access(self, resp: Any, req: Any, environ: dict[str, Any], request_time: Any) -> None:
        # A request whose body has no sure end is logged before it has a path; what fails here is answered by nobody.
        if environ.get("PATH_INFO") not in ("/livez", "/readyz") or resp.status_code >= 400:
            super().access(resp, req, environ, request_time)


logger_class = _WithoutHealth

# The socket for gunicorn's remote control has one path for all that runs under this user: services would
# take it from each other, and nothing here uses it.
control_socket_disable = True


# Who serves is nobody's business, and gunicorn has no setting for it.
_default_headers = gunicorn.http.wsgi.Response.default_headers


def _nameless(response: Any) -> list[str]:
    return [line for line in _default_headers(response) if not line.startswith("Server:")]


gunicorn.http.wsgi.Response.default_headers = _nameless


# What never becomes a request of the app (a request line that is too long, a header that is none) gunicorn answers by
# itself, in HTML and with the offending words.
def _write_problem(client: Any, status: int, reason: str, message: str) -> None:
    """In its place: a problem as everywhere else (RFC 9457), with nothing of what was sent."""
    detail = "The request could not be read." if status < 500 else "The request could not be answered."
    problem = {"type": "about:blank", "title": http.HTTPStatus(status).phrase, "status": status, "detail": detail}
    body = json.dumps(problem, separators=(",", ":"))
    head = (
        f"HTTP/1.1 {status} {http.HTTPStatus(status).phrase}",
        "Connection: close",
        f"Content-Type: {MEDIA_TYPE}",
        "Cache-Control: no-store",
        f"Content-Length: {len(body)}",
    )
    gunicorn.util.write_nonblock(client, "\r\n".join((*head, "", body)).encode("ascii"))


gunicorn.util.write_error = _write_problem


#: Seconds in which a request has to come in, from its first byte to the last of its body. Gunicorn would wait for the
#: rest of it forever, with a thread.
REQUEST_WITHIN = 30.0

_next_request = gunicorn.http.parser.Parser.__next__
_read_some = gunicorn.http.unreader.SocketUnreader.chunk


def _next_request_in_time(parser: Any) -> Any:
    """A head that does not come to its end is a 408 (a body that does not is the app's to answer)."""
    parser.unreader.until = time.monotonic() + REQUEST_WITHIN
    try:
        return _next_request(parser)
    except TimeoutError:
        _write_problem(parser.unreader.sock, 408, "", "")
        raise StopIteration from None


def _read_in_time(unreader: Any, size_hint: int | None = None) -> Any:
    """Never longer than gunicorn itself would wait here. What is written keeps the time it has."""
    before = unreader.sock.gettimeout()
    left = max(unreader.until - time.monotonic(), 0.001)
    unreader.sock.settimeout(left if before is None else min(left, before))
    try:
        return _read_some(unreader, size_hint)
    finally:
        unreader.sock.settimeout(before)


gunicorn.http.parser.Parser.__next__ = _next_request_in_time
gunicorn.http.unreader.SocketUnreader.chunk = _read_in_time


def when_ready(arbiter: Any) -> None:
    """In the process that forks the others: only it is told to stop."""
    say_so_before(lambda: arbiter.signal(signal.SIGTERM, None))
