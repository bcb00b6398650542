"""What the products service does in transactions that other services start."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import select
from sqlalchemy.orm import Session

from atomic_commit import Branches, Refused, Values
from products_service.models import Product

branches = Branches("products")


@branches.branch
def take_stock(session: Session, lines: list[dict[str, int]]) -> Values:
    """Take the ordered quantities out of stock. Returns each product's price as it is now, in the order of the lines.

    Refuses a product that is unknown or has too little stock.
    """
    products = _locked(session, (line["product_id"] for line in lines))
    for number, line in enumerate(lines):
        product = products.get(line["product_id"])
        if product is None:
            raise Refused("unknown_product", f"There is no product {line['product_id']}.", f"lines.{number}.product_id")
        if product.stock < line["quantity"]:
            raise Refused(
                "insufficient_stock",
                f"Product {product.id} has {product.stock} in stock, {line['quantity']} were ordered.",
                f"lines.{number}.quantity",
            )
        product.stock -= line["quantity"]
    return {"prices": [products[line["product_id"]].price for line in lines]}


@branches.branch
def restock(session: Session, quantities: list[list[int]]) -> None:
    """Put quantities back: pairs of product id and quantity. Refuses what does not fit into the warehouse."""
    products = _locked(session, (product_id for product_id, _ in quantities))
    for product_id, quantity in quantities:
        product = products.get(product_id)
        if product is None:
            raise Refused("unknown_product", f"There is no product {product_id}.")
        if product.stock + quantity > product.room:
            raise Refused(
                "no_room",
                f"Product {product_id} has {product.stock} of at most {product.room} in stock;"
                f" {quantity} more do not fit.",
            )
        product.stock += quantity


@branches.locks(take_stock)
def lock_what_is_taken(session: Session, lines: list[list[dict[str, int]]]) -> None:
    _locked(session, (line["product_id"] for of_one in lines for line in of_one))


@branches.locks(restock)
def lock_what_comes_back(session: Session, quantities: list[list[list[int]]]) -> None:
    _locked(session, (product_id for of_one in quantities for product_id, _ in of_one))


def _locked(session: Session, ids: Iterable[int]) -> dict[int, Product]:
    """The products, locked in primary-key order: two transactions that meet do so at the first common product, and
    neither waits for the other in a circle."""
    statement = select(Product).where(Product.id.in_(sorted(set(ids)))).order_by(Product.id).with_for_update()
    return {product.id: product for product in session.scalars(statement)}
