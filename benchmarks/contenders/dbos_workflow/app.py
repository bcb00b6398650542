"""The workflow and its HTTP face. The request's own thread runs the workflow; there is no broker."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import flask
from dbos import DBOS, DBOSConfig, SQLAlchemyDatasource

from benchmarks.contenders import business
from benchmarks.contenders.databases import engine

_TOGETHER = "READ COMMITTED"  # as the shop: it locks rows explicitly


def _datasource(service: str) -> SQLAlchemyDatasource:
    """Its tables were made beforehand: the processes of the API would do it all at once."""
    return SQLAlchemyDatasource.create(
        os.environ[f"{service.upper()}_URL"], engine=engine(service, "psycopg"), run_migrations=False
    )


def create_app() -> flask.Flask:
    """In each of gunicorn's processes."""
    config: DBOSConfig = {
        "name": "shop",
        "system_database_url": os.environ["DBOS_URL"],
        "sys_db_pool_size": 32,  # one for each of the API's threads
        "run_migrations": False,
        "executor_id": f"api-{os.getpid()}",
        "log_level": "WARNING",
    }
    DBOS(config=config)
    remove_user = _workflow()
    DBOS.launch()
    app = flask.Flask(__name__)

    @app.delete("/users/<int:user_id>")
    def delete_user(user_id: int) -> flask.Response:
        remove_user(user_id)
        return flask.jsonify({"user": user_id, "removed": True})

    return app


def _workflow() -> Callable[[int], None]:
    users, orders, products = map(_datasource, ("users", "orders", "products"))

    def step(source: SQLAlchemyDatasource, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*given: Any) -> Any:
            return function(source.sql_session(), *given)

        run.__qualname__ = run.__name__ = function.__name__
        return source.transaction(isolation_level=_TOGETHER)(run)

    mark, unmark, delete = (step(users, f) for f in (business.mark_user, business.unmark_user, business.delete_user))
    cancel, reopen = step(orders, _cancel_orders), step(orders, business.reopen_orders)
    restock, take_back = step(products, business.restock), step(products, business.take_back)

    @DBOS.workflow()
    def remove_user(user_id: int) -> None:
        undo: list[Callable[[], None]] = []
        try:
            mark(user_id)
            undo.append(lambda: unmark(user_id))
            held = cancel(user_id)
            undo.append(lambda: reopen(held["orders"]))
            restock(held["quantities"])
            undo.append(lambda: take_back(held["quantities"]))
            delete(user_id)
        except Exception:
            for take in reversed(undo):
                take()
            raise

    return remove_user


def _cancel_orders(session: Any, user_id: int) -> dict[str, Any]:
    orders = business.open_orders_of(session, user_id)
    return {"orders": orders, **business.cancel_user_orders(session, user_id)}
