"""A service's Flask app, put together the same way in all three: database, engine of atomic commits, HTTP face."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterable

import flask
from celery import Celery
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import Engine, text

from atomic_commit import AtomicCommit, Branches, Conflict, Limits, Lost, TransactionKind, WrongDatabase
from atomic_commit.database import engine_options
from celery_config import create_celery
from celery_config.installation import installation
from celery_config.queues import SERVICES
from http_api import admission
from http_api.app import install
from http_api.health import NotReady
from http_api.problems import ProblemError, problem_response
from http_api.schemas import Blueprint
from http_api.transactions import transactions_blueprint
from service_roles.migrate import assert_migrated, database_url

#: Connections that one process opens when it needs them, and keeps. A request holds one only during its local
#: transaction, never while it waits for a decision.
_POOL_SIZE = 20
#: The settings by which the protocol's waits end; 0 would be for ever.
_LIMITS = ("lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout")


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
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = engine_options(limits, _POOL_SIZE)
    db.init_app(app)
    with app.app_context():
        engine = db.engine
    atomic = AtomicCommit(
        service=service,
        installation=installation(),
        engine=engine,
        celery=celery,
        kinds=kinds,
        branches=branches,
        limits=limits,
        coordinators=SERVICES,
    )
    app.extensions["celery"], app.extensions["atomic_commit"] = celery, atomic
    api = install(app, title=f"{service.capitalize()} service", checks=_checks(atomic, engine))
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


def _checks(atomic: AtomicCommit, engine: Engine) -> dict[str, Callable[[], None]]:
    def database() -> None:
        with engine.connect() as connection:
            connection.execute(text("SELECT 1"))

    def migrated() -> None:
        try:
            assert_migrated(engine, f"{atomic.service}_service")
        except RuntimeError as error:
            raise NotReady(str(error)) from error

    def own_database() -> None:
        try:
            atomic.identity.database()
        except WrongDatabase as error:
            raise NotReady(str(error)) from error

    def able_to_prepare() -> None:
        with engine.connect() as connection:
            if not int(connection.execute(text("SHOW max_prepared_transactions")).scalar_one()):
                raise NotReady("max_prepared_transactions is 0: set it in postgresql.conf and restart PostgreSQL")

    def bounded_waits() -> None:
        with engine.connect() as connection:
            lost = [name for name in _LIMITS if connection.execute(text(f"SHOW {name}")).scalar_one() == "0"]
        if lost:
            raise NotReady(f"{', '.join(lost)} got lost on the way (a pooler?): set them for the role, docs/scaling.md")

    def clock() -> None:
        if unfit := atomic.clock.look():
            raise NotReady(unfit)

    checks = (database, migrated, own_database, able_to_prepare, bounded_waits, clock)
    return {check.__name__: check for check in checks}


def _log_to_stdout(app: flask.Flask) -> None:
    """One handler on the root logger, unless the process (a Celery worker, pytest) has set up its own."""
    if not logging.getLogger().handlers:
        logging.basicConfig(
            level=os.environ.get("LOG_LEVEL", "INFO"),
            format="%(asctime)s %(levelname)s %(name)s: %(message)s",
            stream=sys.stdout,
        )
    logging.getLogger("alembic").setLevel(logging.WARNING)  # /readyz asks Alembic, which says so every time
