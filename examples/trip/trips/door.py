"""The agency's door: POST /trips books one and waits for the decision, GET /trips/{id} shows it."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any
from uuid import UUID

from flask import Flask, Response, request
from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from werkzeug.exceptions import BadRequest, HTTPException, NotFound

from atomic_commit import Conflict, Lost, Missing, Refused, TransactionRecord
from examples.trip.trips import atomic

#: Seconds. Who has no decision by then is told where to ask for it.
PATIENCE = 20.0
_TRIP = text("SELECT account, offer, state, seat, room FROM trips WHERE id = :trip")

app = Flask(__name__)


@app.post("/trips")
def book() -> Response:
    begun = atomic.begin("book_trip", _asked(request.get_json()))
    record = atomic.wait(begun.id, PATIENCE)
    trip = _shown(record)
    where = {"Location": f"/trips/{record.id}"}
    if trip["state"] == "refused":
        cause = record.cause or {}
        if cause.get("cause") == "refused":
            return _problem(HTTPStatus.CONFLICT, cause["detail"], where, **trip, reason=cause["reason"])
        return _problem(HTTPStatus.SERVICE_UNAVAILABLE, "It was given up.", where, **trip)  # why, is for operators
    return _json(HTTPStatus.CREATED if record.decided else HTTPStatus.ACCEPTED, trip, where)


@app.get("/trips/<uuid:trip>")
def show(trip: UUID) -> Response:
    record = atomic.find(trip)
    if record is None:
        raise NotFound(f"There is no trip {trip}.")
    return _json(HTTPStatus.OK, _shown(record))


@app.get("/readyz")
def readyz() -> Response:
    """Whether the engine could do its work here."""
    if noes := atomic.not_ready():
        return _problem(HTTPStatus.SERVICE_UNAVAILABLE, "; ".join(f"{name}: {no}" for name, no in noes.items()))
    return _json(HTTPStatus.OK, {"status": "ready"})


def _asked(body: Any) -> dict[str, Any]:
    names = {"account", "offer"}
    if not isinstance(body, dict) or body.keys() != names or not all(isinstance(body[name], str) for name in names):
        raise BadRequest("The body has two strings: account and offer.")
    return body


def _shown(record: TransactionRecord) -> dict[str, Any]:
    """The row that the transaction has written, and how often it was tried."""
    with atomic.engine.connect() as connection:
        row = connection.execute(_TRIP, {"trip": str(record.id)}).mappings().one()
    return {"id": str(record.id), **row, "attempts": record.attempt}


# ---- errors, as application/problem+json


@app.errorhandler(Missing)
def unknown(error: Missing) -> Response:
    return _problem(HTTPStatus.NOT_FOUND, error.detail, reason=error.reason)


@app.errorhandler(Refused)
def refused(error: Refused) -> Response:
    return _problem(HTTPStatus.CONFLICT, error.detail, reason=error.reason)


@app.errorhandler(Conflict)
@app.errorhandler(Lost)
@app.errorhandler(OperationalError)
def busy(error: Exception) -> Response:
    """A begin of which nobody knows the end (Lost) names its transaction: its page will tell."""
    begun = getattr(error, "transaction", None)
    where = {"Location": f"/trips/{begun}"} if begun else {}
    return _problem(HTTPStatus.SERVICE_UNAVAILABLE, "The database is away, or its rows are in use.", where)


@app.errorhandler(HTTPException)
def other(error: HTTPException) -> Response:
    return _problem(HTTPStatus(error.code or 500), error.description or error.name)


def _problem(status: HTTPStatus, detail: str, headers: dict[str, str] | None = None, **more: object) -> Response:
    body = {"type": "about:blank", "title": status.phrase, "status": status, "detail": detail, **more}
    return _json(status, body, headers, "application/problem+json")


def _json(
    status: HTTPStatus, body: object, headers: dict[str, str] | None = None, kind: str = "application/json"
) -> Response:
    return Response(json.dumps(body), status, headers, content_type=kind)
