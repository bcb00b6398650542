"""The orders API."""

from __future__ import annotations

from typing import Any

import flask
from flask import current_app
from sqlalchemy import select

from http_api import distributed, local
from http_api.blueprint import Blueprint
from http_api.paging import page
from http_api.problems import ProblemError
from orders_service.cancel_order import cancel_order
from orders_service.models import Order, db
from orders_service.place_order import place_order
from orders_service.schemas import NewOrderSchema, OrderListArgs, OrderOutcomeSchema, OrderSchema, shown

blueprint = Blueprint("orders", __name__, url_prefix="/orders", description="What customers ordered")


@blueprint.post("")
@blueprint.arguments(NewOrderSchema)
@blueprint.response(201, OrderOutcomeSchema)
@blueprint.alt_response(202, schema=OrderOutcomeSchema)
@blueprint.alt_response(409, "CONFLICT")
@blueprint.alt_response(503, "SERVICE_UNAVAILABLE")
def post_order(body: dict[str, Any]) -> flask.Response:
    """Place an order: the user is active, the goods are taken from stock and the order stands, all or nothing"""
    return distributed.run(
        current_app.extensions["atomic_commit"],
        place_order.name,
        body,
        body=body,
        shown=shown,
        made_at=lambda result: f"/orders/{result['order']['id']}",
    )


@blueprint.get("")
@blueprint.arguments(OrderListArgs, location="query")
@blueprint.response(200, OrderSchema(many=True))
def list_orders(args: dict[str, Any]) -> Any:
    """List orders, all or a user's or those of a status"""
    statement = select(Order).filter_by(**{n: args[n] for n in ("user_id", "status") if n in args})
    rows, headers = page(db.session, statement, key=(Order.id,), args=args)
    return rows, 200, headers


@blueprint.get("/<int:order_id>")
@blueprint.response(200, OrderSchema)
@blueprint.alt_response(404, "NOT_FOUND")
def get_order(order_id: int) -> Any:
    """One order"""
    return _existing(order_id)


@blueprint.post("/<int:order_id>/fulfil")
@blueprint.response(200, OrderSchema)
@blueprint.alt_response(404, "NOT_FOUND")
@blueprint.alt_response(409, "CONFLICT")
@local.write(db, OrderSchema)
def fulfil_order(order_id: int) -> Any:
    """Fulfil an open order: the goods leave the warehouse"""
    order = _existing(order_id, lock=True)
    if order.status != "open":
        raise ProblemError(
            "refused", f"Order {order_id} is {order.status}, not open.", reason=f"order_is_{order.status}"
        )
    order.status = "fulfilled"
    return order


@blueprint.post("/<int:order_id>/cancel")
@blueprint.response(200, OrderOutcomeSchema)
@blueprint.alt_response(202, schema=OrderOutcomeSchema)
@blueprint.alt_response(404, "NOT_FOUND")
@blueprint.alt_response(409, "CONFLICT")
@blueprint.alt_response(503, "SERVICE_UNAVAILABLE")
def cancel(order_id: int) -> flask.Response:
    """Cancel an open order and put its goods back in stock, all or nothing"""
    return distributed.run(
        current_app.extensions["atomic_commit"], cancel_order.name, {"order_id": order_id}, shown=shown
    )


def _existing(order_id: int, *, lock: bool = False) -> Order:
    statement = select(Order).where(Order.id == order_id)
    order: Order | None = db.session.scalar(statement.with_for_update() if lock else statement)
    if order is None:
        raise ProblemError("not-found", f"There is no order {order_id}.")
    return order
