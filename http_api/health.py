"""Alive and ready, which are two questions.

`/livez`: the process answers, and is not about to stop. It touches nothing else, so that a lost database never gets the
process killed.
`/readyz`: requests would be served. Each named check of the service is a callable that returns when all is
well and raises when not; `NotReady` with a message for whoever asks, any other exception is for the log.

A check may hang as long as the network lets it (a database behind a dropped route). So each runs in a thread
of its own, at most one at a time, and what has not answered within `PATIENCE` seconds counts as failed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait

import flask

from atomic_commit.postgres.readiness import NotReady
from http_api.blueprint import Blueprint
from http_api.problems import ProblemError
from http_api.stopping import is_stopping

PATIENCE = 2.0
OK = "ok"


def health_blueprint(checks: Mapping[str, Callable[[], None]]) -> Blueprint:
    blueprint = Blueprint("health", __name__, description="Is the process alive, would it serve requests")
    probes = {name: _Probe(check) for name, check in checks.items()}

    @blueprint.get("/livez")
    @blueprint.doc(responses={"200": {"description": "The process is alive"}})
    @blueprint.alt_response(503, "SERVICE_UNAVAILABLE")
    def livez() -> flask.Response:
        """The process is alive

        When not, it was told to stop: what is sent to it now is answered, but soon nothing is.
        """
        if is_stopping():
            headers = {"Cache-Control": "no-store", "Retry-After": "1"}
            raise ProblemError("unavailable", "This process was told to stop.", headers=headers)
        return _fresh(flask.jsonify(status="alive"))

    @blueprint.get("/readyz")
    @blueprint.alt_response(503, "SERVICE_UNAVAILABLE")
    @blueprint.doc(responses={"200": {"description": "Every check is ok"}})
    def readyz() -> flask.Response:
        """Requests would be served

        When not, the problem's member `checks` has the result of each check.
        """
        results = _run(probes)
        failed = [name for name, result in results.items() if result != OK]
        if not failed:
            return _fresh(flask.jsonify(status="ready", checks=results))
        flask.current_app.logger.warning("not ready: %s", {name: results[name] for name in failed})
        raise ProblemError(
            "unavailable",
            f"Not ready: {', '.join(failed)}.",
            headers={"Cache-Control": "no-store", "Retry-After": "1"},
            checks=results,
        )

    return blueprint


def _fresh(response: flask.Response) -> flask.Response:
    response.headers["Cache-Control"] = "no-store"
    return response


def _run(probes: Mapping[str, _Probe]) -> dict[str, str]:
    """All at once, and none waited for longer than the rest."""
    app: flask.Flask = flask.current_app._get_current_object()  # type: ignore[attr-defined]
    futures = {name: probe.future(app) for name, probe in probes.items()}
    wait(futures.values(), timeout=PATIENCE)
    return {name: _result(future) for name, future in futures.items()}


def _result(future: Future[None]) -> str:
    if not future.done():
        return f"failed: no answer within {PATIENCE:g} s"
    error = future.exception()
    if error is None:
        return OK
    return f"failed: {error}" if isinstance(error, NotReady) else "failed: it can't be asked; the log says why"


class _Probe:
    """One check, run in a thread of its own. Whoever asks while it runs gets the same run's result, so that a
    hanging check costs one thread and not one a request."""

    def __init__(self, check: Callable[[], None]) -> None:
        self._check = check
        self._lock = threading.Lock()
        self._latest: Future[None] | None = None

    def future(self, app: flask.Flask) -> Future[None]:
        with self._lock:
            if self._latest is None or self._latest.done():
                self._latest = Future()
                # A daemon: a check that hangs must not keep the process from stopping.
                threading.Thread(target=self._run, args=(app, self._latest), daemon=True).start()
            return self._latest

    def _run(self, app: flask.Flask, future: Future[None]) -> None:
        try:
            with app.app_context():  # a check may use the service's Flask-SQLAlchemy session
                self._check()
        except Exception as error:
            if not isinstance(error, NotReady):
                app.logger.warning("a check failed: %s: %s", type(error).__name__, str(error).partition("\n")[0])
            future.set_exception(error)
        else:
            future.set_result(None)
