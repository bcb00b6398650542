"""The products API."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from http_api import local
from http_api.blueprint import Blueprint
from http_api.paging import page
from http_api.problems import ProblemError, error_at
from http_api.schemas import PageArgs
from products_service.models import Product, db
from products_service.schemas import NewProductSchema, ProductChangeSchema, ProductSchema, StockChangeSchema

blueprint = Blueprint("products", __name__, url_prefix="/products", description="What the shop sells")


@blueprint.post("")
@blueprint.arguments(NewProductSchema)
@blueprint.response(201, ProductSchema)
@blueprint.alt_response(409, "CONFLICT")
@local.write(db, ProductSchema)
def add_product(body: dict[str, Any]) -> Any:
    """Add a product"""
    product = Product(**body)
    _check(product, "stock")
    db.session.add(product)
    db.session.flush()
    return product, 201, {"Location": f"/products/{product.id}"}


@blueprint.get("")
@blueprint.arguments(PageArgs, location="query")
@blueprint.response(200, ProductSchema(many=True))
def list_products(args: dict[str, Any]) -> Any:
    """List products"""
    rows, headers = page(db.session, select(Product), key=(Product.id,), args=args)
    return rows, 200, headers


@blueprint.get("/<int:product_id>")
@blueprint.response(200, ProductSchema)
@blueprint.alt_response(404, "NOT_FOUND")
def get_product(product_id: int) -> Any:
    """One product"""
    return _existing(product_id)


@blueprint.patch("/<int:product_id>")
@blueprint.arguments(ProductChangeSchema)
@blueprint.response(200, ProductSchema)
@blueprint.alt_response(404, "NOT_FOUND")
@blueprint.alt_response(409, "CONFLICT")
@local.write(db, ProductSchema)
def update_product(body: dict[str, Any], product_id: int) -> Any:
    """Change a product's name, price or capacity"""
    product = _existing(product_id, lock=True)
    for name, value in body.items():
        setattr(product, name, value)
    _check(product, "capacity")
    return product


@blueprint.post("/<int:product_id>/stock")
@blueprint.arguments(StockChangeSchema)
@blueprint.response(200, ProductSchema)
@blueprint.alt_response(404, "NOT_FOUND")
@blueprint.alt_response(409, "CONFLICT")
@local.write(db, ProductSchema)
def adjust_stock(body: dict[str, Any], product_id: int) -> Any:
    """Put goods into stock or take them out"""
    product = _existing(product_id, lock=True)
    product.stock += body["delta"]
    _check(product, "delta")
    return product


def _existing(product_id: int, *, lock: bool = False) -> Product:
    statement = select(Product).where(Product.id == product_id)
    product: Product | None = db.session.scalar(statement.with_for_update() if lock else statement)
    if product is None:
        raise ProblemError("not-found", f"There is no product {product_id}.")
    return product


def _check(product: Product, field: str) -> None:
    """0 ≤ stock ≤ capacity; `field` is what the request changed. The autoflush must not meet the table's own checks
    before this, so nothing may be queried in between."""
    if product.stock < 0:
        reason, detail = "insufficient_stock", "The stock would fall below zero."
    elif product.stock > product.room:
        reason, detail = "no_room", f"The stock would be {product.stock}; at most {product.room} fit."
    else:
        return
    db.session.rollback()
    raise ProblemError("refused", detail, reason=reason, errors=[error_at("body", [field], detail)])
