"""What the products API takes and gives. Prices are in minor units."""

from __future__ import annotations

import marshmallow as ma
from marshmallow import fields

from http_api.schemas import INTEGER_MAX, StrictInteger, StrictSchema, Text, Timestamp


class ProductSchema(ma.Schema):
    id = fields.Integer()
    name = fields.String()
    price = fields.Integer(metadata={"description": "minor units (cents)"})
    stock = fields.Integer()
    capacity = fields.Integer(allow_none=True, metadata={"description": "most that fits; null for no limit"})
    created_at = Timestamp()


class NewProductSchema(StrictSchema):
    name = Text(200, required=True)
    price = StrictInteger(min=0, max=INTEGER_MAX, required=True)
    stock = StrictInteger(min=0, max=INTEGER_MAX, required=True)
    capacity = StrictInteger(min=0, max=INTEGER_MAX, allow_none=True, load_default=None)


class ProductChangeSchema(StrictSchema):
    name = Text(200)
    price = StrictInteger(min=0, max=INTEGER_MAX)
    capacity = StrictInteger(min=0, max=INTEGER_MAX, allow_none=True)


class StockChangeSchema(StrictSchema):
    delta = StrictInteger(min=-INTEGER_MAX, max=INTEGER_MAX, required=True)
