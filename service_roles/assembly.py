"""A service's Flask app, put together the same way in all of them: database, engine of atomic commits, HTTP face."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterable

import flask
from celery import Celery
from flask_sqlalchemy import SQLAlchemy

from atomic_commit import AtomicCommit, Branches, Conflict, Limits, Lost, TransactionKind
from atomic_commit.postgres.database import engine_options
from celery_config import create_celery
from http_api import admission
from http_api.app import install
from http_api.blueprint import Blueprint
from http_api.problems import ProblemError, problem_response
from http_api.transactions import transactions_blueprint
from service_roles.engine import POOL_SIZE, atomic_commit_of
from service_roles.migrate import database_url, migrated


def assemble(
    *,
    service: str,
    db: SQLAlchemy,
    blueprint: Blueprint,
    kinds: Iterable[TransactionKind] = (),
    branches: Branches | None = None,
    url: str | None = None,
    celery: Celery | None = None,
    limits: Limits | None = None,
) -> flask.Flask:
    """The app of `service`. `url`, `celery` and `limits` default to what the environment says; tests pass their own."""
    limits = limits or Limits.from_environment()
    celery = celery or create_celery(service)
    app = flask.Flask(f"{service}_service")
    _log_to_stdout(app)
    admission.install(app)
    app.config["SQLALCHEMY_DATABASE_URI"] = url or database_url()
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = engine_options(limits, POOL_SIZE)
    db.init_app(app)
    with app.app_context():
        engine = db.engine
    atomic = atomic_commit_of(service, engine, celery, kinds, branches, limits)
    app.extensions["celery"], app.extensions["atomic_commit"] = celery, atomic
    api = install(app, title=f"{service.capitalize()} service", checks=atomic.checks(migrated(service)))
    api.register_blueprint(blueprint)
    api.register_blueprint(transactions_blueprint(atomic, engine))
    _serve_at_own_database_only(app, atomic, blueprint)
    app.register_error_handler(Lost, _unavailable)
    app.register_error_handler(Conflict, _busy)
    return app


def _serve_at_own_database_only(app: flask.Flask, atomic: AtomicCommit, blueprint: Blueprint) -> None:
    """Where the database was away when the process started, it is asked now whose it is; it answers once."""

    @app.before_request
    def refuse() -> None:
        if flask.request.blueprint == blueprint.name:
            atomic.identity.database()


def _unavailable(error: Lost) -> flask.Response:
    """The engine met a database that is away, where a view did not expect it."""
    flask.current_app.logger.warning("database unavailable: %s", error)
    return problem_response(ProblemError("unavailable", "The database takes no requests now."))


def _busy(error: Conflict) -> flask.Response:
    flask.current_app.logger.warning("database busy: %s", error)
    return problem_response(ProblemError("conflict-busy", "Something else is at work on the same rows."))


def _log_to_stdout(app: flask.Flask) -> None:
    """One handler on the root logger, unless the process (a Celery worker, pytest) has set up its own."""
    if not logging.getLogger().handlers:
        logging.basicConfig(
            level=os.environ.get("LOG_LEVEL", "INFO"),
            format="%(asctime)s %(levelname)s %(name)s: %(message)s",
            stream=sys.stdout,
        )
    logging.getLogger("alembic").setLevel(logging.WARNING)  # /readyz asks Alembic, which says so every time
