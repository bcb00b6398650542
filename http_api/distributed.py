"""A distributed call: from a request to a transaction, and from its decision to an answer.

Outside an order is placed or refused, inside a transaction is committed or aborted; this file translates.

| what became of it                     | answer                                                        |
|---------------------------------------|---------------------------------------------------------------|
| committed                             | 200, or 201 + `Location` for what was made                    |
| aborted: a rule of the business       | 409 `refused` with `branch`, `reason`, `transaction`          |
| aborted: what can't succeed           | 500 `internal-error` with `transaction`, after one attempt    |
| aborted: anything else                | 503 `aborted` + `Retry-After`                                 |
| not decided within the wait           | 202 + `Location: /transactions/{id}`; stays accepted          |
| too many wait already                 | the same, at once and without `Preference-Applied`            |
| refused before it was accepted        | 409, or 404 for what does not exist; no transaction was begun |
| the application is paused             | 503 `paused` + `Retry-After`; nothing was accepted            |
| a row locked for too long, before     | 503 `conflict-busy` + `Retry-After`; nothing was accepted     |
| the database away before              | 503 `unavailable` + `Retry-After`; nothing was accepted       |
| the database away while accepting     | 504 `outcome-unknown` with the URL that tells once it's known |
| the key's owner can't be read now     | 504 `outcome-unknown`; to be repeated with the same key       |
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from uuid import UUID

import flask

from atomic_commit import (
    AtomicCommit,
    Conflict,
    IdempotencyKey,
    KeyReused,
    KeyTaken,
    Lost,
    Missing,
    Paused,
    Refused,
    State,
    TransactionRecord,
)
from http_api import idempotency, prefer
from http_api.admission import Admission
from http_api.problems import ProblemError, error_at, problem_response
from http_api.transactions import as_json, public_cause, url_of

Locate = Callable[[dict[str, Any]], str]
Show = Callable[[dict[str, Any]], dict[str, Any]]


def run(
    atomic: AtomicCommit,
    kind: str,
    arguments: dict[str, Any],
    *,
    body: object = None,
    shown: Show = dict,
    made_at: Locate | None = None,
) -> flask.Response:
    """Begin a transaction of `kind` for the present request, wait as the client prefers, and answer.

    `body` is the validated body, for the idempotency fingerprint. Of a committed transaction's result the answer has
    `shown(result)`, and `made_at(result)` is the URL of what it has made (then the answer is 201).
    """
    preference = prefer.from_request(flask.request)
    key = idempotency.from_request(flask.request, body)
    began = time.monotonic()
    try:
        record = atomic.begin(kind, arguments, key)
        # What begin took (a broker that hangs takes seconds) is part of the wait that the client asked for.
        record, preferred = _waited(atomic, record, preference, preference.wait - (time.monotonic() - began))
    except Refused as refusal:
        raise _not_accepted(atomic, kind, refusal) from refusal
    except Paused as pause:
        raise _paused(pause, key) from pause
    except Conflict as conflict:
        raise _busy(conflict, key) from conflict
    except KeyReused as error:
        raise ProblemError("idempotency-key-reused", str(error)) from error
    except Lost as error:
        raise _lost(error, key) from error
    response = _answer(atomic, record, shown, made_at)
    response.headers.update(preferred)
    response.headers["Vary"] = "Prefer"
    return response


def _waited(
    atomic: AtomicCommit, record: TransactionRecord, preference: prefer.Preference, seconds: float
) -> tuple[TransactionRecord, dict[str, str]]:
    """The record after the wait, and the headers that say which preference was applied. Who finds too many waiting does
    not wait. It is accepted by now, so a database that goes away meanwhile is no error."""
    if not preference.wait:
        return record, preference.headers
    admission: Admission = flask.current_app.extensions["admission"]
    with admission.wait() as admitted:
        if not admitted:
            return record, {}
        try:
            return atomic.wait(record.id, max(0.0, seconds)), preference.headers
        except Exception:
            flask.current_app.logger.warning("decision of %s can't be read now", record.id)
            return record, preference.headers


def _answer(atomic: AtomicCommit, record: TransactionRecord, shown: Show, made_at: Locate | None) -> flask.Response:
    if record.state is State.COMMITTED:
        return _committed(atomic, record, shown, made_at)
    if record.state is State.ABORTED:
        return problem_response(_aborted(atomic, record))
    response = flask.jsonify({"transaction": as_json(record, atomic)})
    response.status_code = 202
    response.headers["Location"] = url_of(record.id)
    response.headers["Retry-After"] = "1"
    return response


def _committed(atomic: AtomicCommit, record: TransactionRecord, shown: Show, made_at: Locate | None) -> flask.Response:
    result = record.result or {}
    response = flask.jsonify({"transaction": as_json(record, atomic), **(shown(result) if result else {})})
    if made_at:
        response.status_code = 201
        response.headers["Location"] = made_at(result)
    return response


def _aborted(atomic: AtomicCommit, record: TransactionRecord) -> ProblemError:
    cause = public_cause(record.cause or {})
    members: dict[str, Any] = {
        "branch": cause.get("branch"),
        "reason": cause["reason"],
        "transaction": as_json(record, atomic),
    }
    if cause["cause"] != "refused":
        kind = "internal-error" if cause["cause"] == "defect" else "aborted"
        return ProblemError(kind, f"Nothing was changed. {cause['branch']}: {cause['detail']}", **members)
    return ProblemError("refused", str(cause.get("detail")), **_offending(cause.get("field")), **members)


def _not_accepted(atomic: AtomicCommit, kind: str, refusal: Refused) -> ProblemError:
    """Refused before there was a transaction; if another one is in the way, that one is told."""
    return ProblemError(
        "not-found" if isinstance(refusal, Missing) else "refused",
        refusal.detail,
        **_offending(refusal.field),
        branch=f"{atomic.service}.{kind}",
        reason=refusal.reason,
        transaction=_in_the_way(atomic, UUID(refusal.transaction)) if refusal.transaction else None,
    )


def _in_the_way(atomic: AtomicCommit, transaction: UUID) -> dict[str, Any] | None:
    """That transaction, or where it can't be read its name: the refusal stands. None where there is none."""
    try:
        found = atomic.find(transaction)
    except Exception as error:
        flask.current_app.logger.warning("transaction %s can't be read now: %s", transaction, error)
        return _name(transaction)
    return as_json(found, atomic) if found else None


def _name(transaction: UUID) -> dict[str, Any]:
    return {"id": str(transaction), "url": url_of(transaction)}


def _paused(pause: Paused, key: IdempotencyKey | None) -> ProblemError:
    """What a person has said why is meant for clients."""
    why = f": {pause.because}" if pause.because else ""
    return ProblemError(
        "paused", f"Nothing was accepted: the application is paused{why.rstrip('.')}.{_of_an_earlier_one(key)}"
    )


def _busy(conflict: Conflict, key: IdempotencyKey | None) -> ProblemError:
    """Words of the service's own are told; those of the database or of the engine are for the log."""
    flask.current_app.logger.warning("database busy: %s", conflict)
    why = str(conflict) if _of_the_service(conflict) else "something else is at work on the same rows"
    return ProblemError("conflict-busy", f"Nothing was changed: {why}.{_of_an_earlier_one(key)}")


def _of_the_service(conflict: Conflict) -> bool:
    return type(conflict) is Conflict and conflict.__cause__ is None


def _lost(error: Lost, key: IdempotencyKey | None) -> ProblemError:
    flask.current_app.logger.warning("database unavailable: %s", error)
    if isinstance(error, KeyTaken):
        return ProblemError(
            "outcome-unknown",
            "An earlier request with this Idempotency-Key was accepted, and the database went away before it could be"
            " read. Repeat the request with the same key.",
        )
    if error.transaction is None:
        return ProblemError(
            "unavailable", f"Nothing was accepted: the database takes no requests now.{_of_an_earlier_one(key)}"
        )
    name = _name(error.transaction)
    return ProblemError(
        "outcome-unknown",
        f"The database went away while it accepted the request. If it has, {name['url']} tells as soon as that is"
        " known; until then, and if it has not, the answer there is 404.",
        headers={"Location": name["url"]},
        transaction=name,
    )


def _of_an_earlier_one(key: IdempotencyKey | None) -> str:
    """What "nothing" does not include: a repeated request knows only of itself."""
    if key is None:
        return ""
    return (
        " That is said of this request alone: whether an earlier one with its Idempotency-Key was accepted is told when"
        " it is repeated."
    )


def _offending(field: str | None) -> dict[str, Any]:
    if field is None:
        return {}
    steps = [int(step) if step.isdigit() else step for step in field.split(".")]
    return {"errors": [error_at("body", steps, "This is what the refusal is about.")]}
