"""`/transactions`: what became of what a service accepted, and how every branch voted.

The representation of a transaction is made here and nowhere else; answers, problems and lists carry the same one.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

import flask
import marshmallow as ma
import sqlalchemy as sa
from marshmallow import fields, validate
from sqlalchemy.orm import Session

from atomic_commit import AtomicCommit, State, TransactionRecord
from atomic_commit.journal import records
from atomic_commit.journal.records import UNEXPECTED, BranchRecord
from atomic_commit.journal.schema import transactions as table
from atomic_commit.names import service_of
from http_api.blueprint import Blueprint
from http_api.paging import page
from http_api.problems import ProblemError
from http_api.schemas import PageArgs, Timestamp

STATES = ("preparing", "committed", "aborted", "quarantined")


class BranchSchema(ma.Schema):
    """One branch of one attempt."""

    name = fields.String(metadata={"example": "orders.cancel_user_orders"})
    attempt = fields.Integer()
    queue = fields.String(metadata={"example": "orders"})
    task_id = fields.String(metadata={"description": "id of the Celery task and of the prepared transaction"})
    status = fields.String(allow_none=True, metadata={"description": "of the task's AsyncResult", "example": "SUCCESS"})
    vote = fields.String(allow_none=True, validate=validate.OneOf(["yes", "no", "silent"]))
    outcome = fields.String(allow_none=True, validate=validate.OneOf(["commit", "rollback"]))
    dispatched_at = Timestamp()
    decided_at = Timestamp(allow_none=True)
    settled_at = Timestamp(allow_none=True, metadata={"description": "when its service answered the outcome"})


class CauseSchema(ma.Schema):
    """Why a transaction did not commit, or its last attempt did not."""

    branch = fields.String()
    cause = fields.String()
    reason = fields.String(allow_none=True)
    detail = fields.String(allow_none=True)
    field = fields.String(allow_none=True)


class TransactionSchema(ma.Schema):
    """A transaction as its coordinator knows it."""

    id = fields.UUID()
    url = fields.String(metadata={"format": "uri-reference"})
    kind = fields.String(metadata={"example": "remove_user"})
    state = fields.String(validate=validate.OneOf(STATES))
    decision = fields.String(allow_none=True, validate=validate.OneOf(["committed", "aborted"]))
    attempt = fields.Integer(metadata={"description": "how often it was tried"})
    leader = fields.UUID(
        allow_none=True,
        metadata={"description": "the transaction that leads the shared attempt, whose id the branches carry"},
    )
    settled = fields.Boolean()
    created_at = Timestamp()
    deadline = Timestamp()
    decided_at = Timestamp(allow_none=True)
    settled_at = Timestamp(allow_none=True)
    quarantined_at = Timestamp(allow_none=True, metadata={"description": "since when it waits for a person"})
    cause = fields.Nested(CauseSchema, allow_none=True)
    error = fields.String(allow_none=True, metadata={"description": "the last trouble, while it is not settled"})
    branches = fields.List(fields.Nested(BranchSchema))


#: Made once: to make one costs more than to use it.
_SCHEMA = TransactionSchema()


class TransactionArgs(PageArgs):
    state = fields.String(validate=validate.OneOf(STATES), metadata={"description": "only those in this state"})
    settled = fields.String(
        validate=validate.OneOf(["true", "false"]),
        metadata={"description": "false: only those that are undecided, owed to a participant, or quarantined"},
    )


def url_of(transaction: uuid.UUID) -> str:
    return f"/transactions/{transaction}"


def as_json(record: TransactionRecord, atomic: AtomicCommit) -> dict[str, Any]:
    """The one representation of a transaction."""
    members = {
        "id": record.id,
        "url": url_of(record.id),
        "kind": record.kind,
        "state": "quarantined" if record.quarantined else str(record.state),
        "decision": str(record.state) if record.decided else None,
        "attempt": record.attempt,
        "leader": record.leader,
        "settled": record.settled_at is not None,
        "created_at": record.created_at,
        "deadline": record.deadline,
        "decided_at": record.decided_at,
        "settled_at": record.settled_at,
        "quarantined_at": record.quarantined_at,
        "cause": public_cause(record.cause) if record.cause and record.state is not State.COMMITTED else None,
        "error": _public_error(record.error),
        "branches": [_branch(branch, record, atomic) for branch in record.branches],
    }
    dumped: dict[str, Any] = _SCHEMA.dump(members)
    return dumped


#: What a client is told of a cause. The words of an unexpected error (class names, SQL, parameters) are for the
#: operator, who reads them in the log and by `python -m <service> transactions`.
_IN_PUBLIC = {
    "revoked": "It was revoked by an operator.",
    "conflict": "Something else was at work on the same rows.",
    "lost": "A connection broke, or something that it needs was away.",
    "silence": "No answer was seen in time.",
    "beside": "Another transaction that shared the attempt said no.",
    "failed": "It failed in a way that it should not have, and may succeed another time.",
    "defect": "It can't succeed, however often it is tried, before its operator has mended what is wrong.",
}


def public_cause(cause: Mapping[str, Any]) -> dict[str, Any]:
    """Why it did not commit, in words for everybody. The words of a refusal are the business's own."""
    kind = cause.get("cause")
    if kind == "refused":
        return dict(cause)
    words = _IN_PUBLIC.get(str(kind), _IN_PUBLIC["failed"])
    return {"branch": cause.get("branch"), "cause": kind, "reason": kind, "detail": words, "field": None}


def _public_error(error: str | None) -> str | None:
    """The engine's own words, but not those of an error that nobody expects."""
    return "unexpected; its operator finds more in the log" if error and error.startswith(UNEXPECTED) else error


def _branch(branch: BranchRecord, record: TransactionRecord, atomic: AtomicCommit) -> dict[str, Any]:
    """With the status as it was counted, or as it is now where nothing was counted yet."""
    status = branch.status
    if status is None and not record.decided:
        status = atomic.messages.status_of(branch.task_id)
    return {
        "name": branch.name,
        "attempt": branch.attempt,
        "queue": atomic.installation.branch_queue(service_of(branch.name)),
        "task_id": branch.task_id,
        "status": status,
        "vote": branch.vote,
        "outcome": branch.outcome,
        "dispatched_at": branch.dispatched_at,
        "decided_at": branch.decided_at,
        "settled_at": branch.settled_at,
    }


def transactions_blueprint(atomic: AtomicCommit, engine: sa.Engine) -> Blueprint:
    """The two routes, for the transactions that `atomic` coordinates."""
    blueprint = Blueprint("transactions", __name__, description="What this service coordinates")

    @blueprint.get("/transactions")
    @blueprint.arguments(TransactionArgs, location="query")
    @blueprint.response(200, TransactionSchema(many=True))
    def list_transactions(args: dict[str, Any]) -> flask.Response:
        """Transactions, the newest first"""
        with Session(engine) as session:
            ids, headers = page(
                session,
                sa.select(table.c.id).where(*_of_state(args.get("state")), *_settled(args.get("settled"))),
                key=(table.c.created_at, table.c.id),
                args=args,
                newest_first=True,
            )
            found = {r.id: r for r in records.read_many(session, ids)}
        response = flask.jsonify([as_json(found[id], atomic) for id in ids])
        response.headers.update(headers)
        return response

    @blueprint.get("/transactions/<uuid:transaction_id>")
    @blueprint.response(200, TransactionSchema)
    @blueprint.alt_response(404, "NOT_FOUND")
    def get_transaction(transaction_id: uuid.UUID) -> flask.Response:
        """One transaction"""
        record = atomic.find(transaction_id)
        if record is None:
            raise ProblemError("not-found", f"This service coordinates no transaction {transaction_id}.")
        response = flask.jsonify(as_json(record, atomic))
        if not record.decided:
            response.headers["Retry-After"] = "1"
        return response

    return blueprint


def _of_state(state: str | None) -> list[Any]:
    """Where nothing can be settled the condition says so: that is what the index of the unsettled is found by."""
    if state is None:
        return []
    if state == "quarantined":
        return [table.c.quarantined_at.is_not(None), table.c.settled_at.is_(None)]
    unsettled = [table.c.settled_at.is_(None)] if state == State.PREPARING else []
    return [table.c.state == state, table.c.quarantined_at.is_(None), *unsettled]


def _settled(settled: str | None) -> list[Any]:
    return {None: [], "true": [table.c.settled_at.is_not(None)], "false": [table.c.settled_at.is_(None)]}[settled]
