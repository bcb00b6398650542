"""What the orders API takes and gives. Prices are in minor units."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import marshmallow as ma
from marshmallow import fields, validate

from http_api.schemas import INTEGER_MAX, PageArgs, QueryInteger, StrictInteger, StrictSchema, Timestamp
from http_api.transactions import TransactionSchema

STATUSES = ("open", "cancelling", "fulfilled", "cancelled")
MOST_LINES = 100


class OrderLineSchema(ma.Schema):
    product_id = fields.Integer()
    quantity = fields.Integer()
    unit_price = fields.Integer(metadata={"description": "minor units, as it was when the order was placed"})


class OrderSchema(ma.Schema):
    id = fields.Integer()
    user_id = fields.Integer()
    status = fields.String(validate=validate.OneOf(STATUSES))
    total = fields.Integer(metadata={"description": "minor units"})
    created_at = Timestamp()
    lines = fields.List(fields.Nested(OrderLineSchema))


#: Made once: to make one costs more than to use it.
ORDER = OrderSchema()


def shown(result: dict[str, Any]) -> dict[str, Any]:
    """The result of a transaction that placed or cancelled an order, as its answer shows it."""
    order = result["order"]
    return {"order": ORDER.dump({**order, "created_at": datetime.fromisoformat(order["created_at"])})}


class NewLineSchema(StrictSchema):
    product_id = StrictInteger(min=1, max=INTEGER_MAX, required=True)
    quantity = StrictInteger(min=1, max=1_000_000, required=True)


class NewOrderSchema(StrictSchema):
    user_id = StrictInteger(min=1, max=INTEGER_MAX, required=True)
    lines = fields.List(
        fields.Nested(NewLineSchema),
        required=True,
        validate=validate.Length(1, MOST_LINES),
        metadata={"uniqueItems": True, "description": "Each product may have one line only."},
    )

    @ma.validates_schema
    def each_product_once(self, data: dict[str, Any], **_: Any) -> None:
        seen: set[int] = set()
        for number, line in enumerate(data.get("lines", ())):
            if line["product_id"] in seen:
                raise ma.ValidationError({"lines": {number: {"product_id": ["Each product may have one line only."]}}})
            seen.add(line["product_id"])


class OrderListArgs(PageArgs):
    user_id = QueryInteger(min=1, max=INTEGER_MAX)
    status = fields.String(validate=validate.OneOf(STATUSES))


class OrderOutcomeSchema(ma.Schema):
    transaction = fields.Nested(TransactionSchema)
    order = fields.Nested(OrderSchema)
