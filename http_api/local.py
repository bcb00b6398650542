"""A local call: a change that a service makes by itself, in one transaction of its own database.

| what became of it                       | answer                                                                  |
|-----------------------------------------|-------------------------------------------------------------------------|
| done                                    | what the view says: 200, or 201 + `Location`                            |
| done before, with this Idempotency-Key  | the same answer, and nothing is done                                    |
| refused, or wrong                       | what the view says; nothing was changed, and nothing is kept of it      |
| a row or the key locked for too long    | 503 `conflict-busy` + `Retry-After`; nothing was changed                |
| the database away before COMMIT         | 503 `unavailable` + `Retry-After`; nothing was changed                  |
| the database away at COMMIT             | 504 `outcome-unknown`: with a key to be repeated, else to be looked at  |
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import flask
import marshmallow as ma
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.exc import DBAPIError

from atomic_commit import AtomicCommit, IdempotencyKey, KeyReused, Lost
from atomic_commit.errors import is_lost
from http_api import idempotency
from http_api.problems import ProblemError

View = Callable[..., Any]


def write(db: SQLAlchemy, schema: type[ma.Schema]) -> Callable[[View], View]:
    """The view changes rows in `db.session`, flushes what may be refused there, and leaves the commit to this. It
    returns what it has changed, to be shown by `schema`, or (that, status, headers)."""

    def decorate(view: View) -> View:
        @wraps(view)
        def call(*body: Any, **path: Any) -> flask.Response:
            key = idempotency.from_request(flask.request, *body)
            answer = _answered_before(db, key)
            if answer is None:
                answer = _shown(schema, view(*body, **path))
                _keep(db, key, answer)
                _commit(db, key)
            return _response(answer)

        return call

    return decorate


def _answered_before(db: SQLAlchemy, key: IdempotencyKey | None) -> dict[str, Any] | None:
    """What was answered to the same request before. None: there was no such, and now the key is this one's."""
    if key is None:
        return None
    try:
        return _engine().local_calls.claim(db.session(), key)
    except KeyReused as error:
        raise ProblemError("idempotency-key-reused", str(error)) from error
    except Lost as error:
        raise _unknown(error, key) from error


def _keep(db: SQLAlchemy, key: IdempotencyKey | None, answer: dict[str, Any]) -> None:
    if key:
        _engine().local_calls.keep(db.session(), key, answer)


def _commit(db: SQLAlchemy, key: IdempotencyKey | None) -> None:
    """Commit. Where that is not answered nobody knows whether it has happened."""
    db.session.flush()
    try:
        db.session.commit()
    except DBAPIError as error:
        if is_lost(error):
            raise _unknown(error, key) from error
        raise


def _unknown(error: Exception, key: IdempotencyKey | None) -> ProblemError:
    flask.current_app.logger.warning("%s: the outcome is not known: %s", flask.request.path, error)
    advice = (
        "Repeat the request with the same Idempotency-Key: it is done once, however often it is sent."
        if key
        else "Look before you repeat it. One that is sent with an Idempotency-Key can be repeated as it is."
    )
    problem = ProblemError("outcome-unknown", f"The database went away while it committed the change. {advice}")
    if key is None:
        del problem.headers["Retry-After"]  # what repeats by itself would do it twice
    return problem


def _shown(schema: type[ma.Schema], said: Any) -> dict[str, Any]:
    """What the view said, as JSON that can be kept."""
    changed, status, headers = said if isinstance(said, tuple) else (said, 200, {})
    return {"status": status, "headers": headers, "body": schema().dump(changed)}


def _response(answer: dict[str, Any]) -> flask.Response:
    response = flask.jsonify(answer["body"])
    response.status_code = answer["status"]
    response.headers.update(answer["headers"])
    return response


def _engine() -> AtomicCommit:
    engine: AtomicCommit = flask.current_app.extensions["atomic_commit"]
    return engine
