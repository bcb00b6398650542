"""The users API."""

from __future__ import annotations

from typing import Any

import flask
from flask import current_app
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from http_api import distributed, local
from http_api.blueprint import Blueprint
from http_api.paging import page
from http_api.problems import ProblemError, error_at
from http_api.schemas import PageArgs
from users_service import turnstile
from users_service.models import User, db
from users_service.remove_user import remove_user
from users_service.schemas import NewUserSchema, RemovalSchema, UserChangeSchema, UserSchema

blueprint = Blueprint("users", __name__, url_prefix="/users", description="The shop's customers")


@blueprint.post("")
@blueprint.arguments(NewUserSchema)
@blueprint.response(201, UserSchema)
@blueprint.alt_response(409, "CONFLICT")
@local.write(db, UserSchema)
def add_user(body: dict[str, Any]) -> Any:
    """Add a user"""
    user = User(**body, status="active")
    db.session.add(user)
    _flush_unless_email_taken()
    return user, 201, {"Location": f"/users/{user.id}"}


@blueprint.get("")
@blueprint.arguments(PageArgs, location="query")
@blueprint.response(200, UserSchema(many=True))
def list_users(args: dict[str, Any]) -> Any:
    """List users"""
    rows, headers = page(db.session, select(User), key=(User.id,), args=args)
    return rows, 200, headers


@blueprint.get("/<int:user_id>")
@blueprint.response(200, UserSchema)
@blueprint.alt_response(404, "NOT_FOUND")
def get_user(user_id: int) -> Any:
    """One user"""
    return _existing(user_id)


@blueprint.patch("/<int:user_id>")
@blueprint.arguments(UserChangeSchema)
@blueprint.response(200, UserSchema)
@blueprint.alt_response(404, "NOT_FOUND")
@blueprint.alt_response(409, "CONFLICT")
@local.write(db, UserSchema)
def update_user(body: dict[str, Any], user_id: int) -> Any:
    """Change a user's name or e-mail"""
    turnstile.shut(db.session(), [user_id])
    user = _existing(user_id, lock=True)
    if user.status != "active":
        raise ProblemError("refused", f"User {user_id} is being removed.", reason="user_is_being_removed")
    for name, value in body.items():
        setattr(user, name, value)
    _flush_unless_email_taken()
    return user


@blueprint.delete("/<int:user_id>")
@blueprint.response(200, RemovalSchema)
@blueprint.alt_response(202, schema=RemovalSchema)
@blueprint.alt_response(404, "NOT_FOUND")
@blueprint.alt_response(409, "CONFLICT")
@blueprint.alt_response(503, "SERVICE_UNAVAILABLE")
def delete_user(user_id: int) -> flask.Response:
    """Remove a user, cancel the user's open orders and put the goods back in stock, all or nothing"""
    return distributed.run(current_app.extensions["atomic_commit"], remove_user.name, {"user_id": user_id})


def _existing(user_id: int, *, lock: bool = False) -> User:
    statement = select(User).where(User.id == user_id)
    user: User | None = db.session.scalar(statement.with_for_update() if lock else statement)
    if user is None:
        raise ProblemError("not-found", f"There is no user {user_id}.")
    return user


def _flush_unless_email_taken() -> None:
    try:
        db.session.flush()
    except IntegrityError as error:
        db.session.rollback()
        violated: Any = getattr(error.orig, "diag", None)
        if violated is None or violated.constraint_name != "users_email":
            raise
        detail = "Another user has this e-mail address."
        raise ProblemError(
            "refused", detail, reason="email_taken", errors=[error_at("body", ["email"], detail)]
        ) from error
