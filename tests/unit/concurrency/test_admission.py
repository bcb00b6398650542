"""What a server's threads may be busy with."""

from __future__ import annotations

from contextlib import ExitStack

import flask
import pytest

from http_api import admission
from http_api.admission import Admission
from http_api.problem_handlers import register_error_handlers


@pytest.mark.parametrize(("at_once", "waiting"), [(1, 1), (2, 1), (8, 4), (128, 64)])
def test_half_of_those_that_are_served_may_wait_for_decisions(at_once: int, waiting: int) -> None:
    shares = Admission(at_once)
    with ExitStack() as stack:
        assert [stack.enter_context(shares.wait()) for _ in range(waiting + 2)] == [True] * waiting + [False] * 2
    with shares.wait() as again:
        assert again, "who has waited leaves room for the next"


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> flask.Flask:
    monkeypatch.setenv("WEB_THREADS", "8")
    app = flask.Flask("a service")
    admission.install(app)
    register_error_handlers(app)
    health = flask.Blueprint("health", __name__)
    health.add_url_rule("/livez", "livez", lambda: "alive")
    app.register_blueprint(health)
    app.add_url_rule("/things", "things", lambda: "things")
    app.add_url_rule("/broken", "broken", lambda: 1 / 0)
    return app


def test_who_finds_all_places_taken_is_told_to_come_again(app: flask.Flask) -> None:
    client, shares = app.test_client(), app.extensions["admission"]
    assert [shares.enter() for _ in range(9)] == [True] * 8 + [False]
    busy = client.get("/things")
    assert (busy.status_code, busy.json["type"], busy.headers["Retry-After"]) == (503, "/problems/busy", "1")
    assert client.get("/livez").text == "alive", "whoever asks whether the process is well is always answered"
    shares.leave()
    assert client.get("/things").text == "things"


@pytest.mark.parametrize("path", ["/things", "/broken", "/nowhere"])
def test_whatever_becomes_of_a_request_its_thread_is_free_again(app: flask.Flask, path: str) -> None:
    client = app.test_client()
    for _ in range(20):
        assert client.get(path).status_code != 503


def test_there_are_threads_for_more_than_are_served(monkeypatch: pytest.MonkeyPatch) -> None:
    for served, threads in ((1, 3), (8, 10), (128, 144)):
        monkeypatch.setenv("WEB_THREADS", str(served))
        assert (admission.served_at_once(), admission.threads()) == (served, threads)
