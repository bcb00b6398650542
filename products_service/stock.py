"""What is in stock: lock all products that are concerned and look, reckon, write what has changed. However many there
are, that is two statements."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import ARRAY, Integer, bindparam, column, func, select, update
from sqlalchemy.orm import Session

from atomic_commit import Refused
from products_service.models import Product, room


@dataclass
class Held:
    """A product that is locked. All but the price, which is in cents, in pieces."""

    #: in stock when it was locked
    stock: int
    #: in stock at most
    room: int
    price: int
    #: by how much the stock is to be changed
    change: int = 0


#: By id. What is not in there is unknown.
Products = dict[int, Held]


def locked(session: Session, ids: Iterable[int]) -> Products:
    """The products, locked in primary-key order: two transactions that meet do so at the first common product, and
    neither waits for the other in a circle."""
    rows = session.execute(_LOCK, {"ids": sorted(set(ids))})
    return {row.id: Held(row.stock, room(row.capacity), row.price) for row in rows}


def take(products: Products, number: int, line: dict[str, int]) -> int:
    """Take what line `number` of an order wants. Returns the price. Raises Refused for what is unknown or too much."""
    product_id, quantity = line["product_id"], line["quantity"]
    product = products.get(product_id)
    if product is None:
        raise Refused("unknown_product", f"There is no product {product_id}.", f"lines.{number}.product_id")
    in_stock = product.stock + product.change
    if in_stock < quantity:
        raise Refused(
            "insufficient_stock",
            f"Product {product_id} has {in_stock} in stock, {quantity} were ordered.",
            f"lines.{number}.quantity",
        )
    product.change -= quantity
    return product.price


def put_back(products: Products, product_id: int, quantity: int) -> None:
    """Put so many back. Raises Refused for what is unknown or does not fit."""
    product = products.get(product_id)
    if product is None:
        raise Refused("unknown_product", f"There is no product {product_id}.")
    in_stock = product.stock + product.change
    if in_stock + quantity > product.room:
        raise Refused(
            "no_room",
            f"Product {product_id} has {in_stock} of at most {product.room} in stock; {quantity} more do not fit.",
        )
    product.change += quantity


def write(session: Session, products: Products) -> None:
    """Write down what has changed."""
    changed = {product_id: product.change for product_id, product in products.items() if product.change}
    if changed:
        session.execute(_WRITE, {"ids": list(changed), "changes": list(changed.values())})


_table = Product.__table__
_ids = bindparam("ids", type_=ARRAY(Integer))
#: Made once: to put a statement together costs more than to send it.
_LOCK = (
    select(_table.c.id, _table.c.stock, _table.c.capacity, _table.c.price)
    .where(_table.c.id == func.any(_ids))
    .order_by(_table.c.id)
    .with_for_update()
)
_changes = (
    func.unnest(_ids, bindparam("changes", type_=ARRAY(Integer)))
    .table_valued(column("id", Integer), column("change", Integer), name="changes")
    .render_derived()
)
_WRITE = update(_table).where(_table.c.id == _changes.c.id).values(stock=_table.c.stock + _changes.c.change)
