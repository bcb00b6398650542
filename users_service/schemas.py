"""What the users API takes and gives."""

from __future__ import annotations

import marshmallow as ma
from marshmallow import fields, validate

from http_api.schemas import Email, StrictSchema, Text, Timestamp
from http_api.transactions import TransactionSchema


class UserSchema(ma.Schema):
    id = fields.Integer()
    name = fields.String()
    email = fields.String()
    status = fields.String(validate=validate.OneOf(["active", "removing"]))
    created_at = Timestamp()


class NewUserSchema(StrictSchema):
    name = Text(200, required=True)
    email = Email(required=True)


class UserChangeSchema(StrictSchema):
    name = Text(200)
    email = Email()


class RemovalSchema(ma.Schema):
    transaction = fields.Nested(TransactionSchema)
