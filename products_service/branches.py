"""What the products service does in transactions that other services start.

Each branch works on any number of requests with the same two statements: lock all products and look, then change them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import ARRAY, Integer, bindparam, column, func, select, update
from sqlalchemy.orm import Session

from atomic_commit import Branches, Refused, Values, only_answer
from products_service.models import Product, room

branches = Branches("products")


# Safe to redo: it takes just what the order holds, from whatever is in stock by then, and refuses where that is too
# little. (That the price may be another one by now does no harm: the order keeps what it was told the first time.)
@branches.branch(safe_to_redo=True)
def take_stock(session: Session, lines: list[dict[str, int]]) -> Values:
    """Take the ordered quantities out of stock. Returns each product's price as it is now, in the order of the lines.

    Refuses a product that is unknown or has too little stock.
    """
    return only_answer(take_all(session, [lines]))


@branches.batch(take_stock)
def take_all(session: Session, lines: list[list[dict[str, int]]]) -> list[Values | Refused]:
    products = _locked(session, (line["product_id"] for of_one in lines for line in of_one))
    taken = [_take_lines(products, of_one) for of_one in lines]
    _write(session, products)
    return taken


# Safe to redo: what was recorded is added to whatever is in stock by then, or refused for lack of room.
@branches.branch(safe_to_redo=True)
def restock(session: Session, quantities: list[list[int]]) -> None:
    """Put quantities back: pairs of product id and quantity. Refuses what does not fit into the warehouse."""
    only_answer(restock_all(session, [quantities]))


@branches.batch(restock)
def restock_all(session: Session, quantities: list[list[list[int]]]) -> list[Refused | None]:
    products = _locked(session, (product_id for of_one in quantities for product_id, _ in of_one))
    answers = [_put_all_back(products, of_one) for of_one in quantities]
    _write(session, products)
    return answers


@branches.locks(take_stock)
def lock_what_is_taken(session: Session, lines: list[list[dict[str, int]]]) -> None:
    _locked(session, (line["product_id"] for of_one in lines for line in of_one))


@branches.locks(restock)
def lock_what_comes_back(session: Session, quantities: list[list[list[int]]]) -> None:
    _locked(session, (product_id for of_one in quantities for product_id, _ in of_one))


@dataclass
class _Held:
    """A product that is locked: what is in stock, at most, and by how much that is to be changed."""

    stock: int
    room: int
    price: int
    change: int = 0


def _take_lines(products: dict[int, _Held], lines: list[dict[str, int]]) -> Values | Refused:
    with _all_of(products, (line["product_id"] for line in lines)) as no:
        return {"prices": [_take(products, number, line) for number, line in enumerate(lines)]}
    return no[0]


def _put_all_back(products: dict[int, _Held], quantities: list[list[int]]) -> Refused | None:
    with _all_of(products, (product_id for product_id, _ in quantities)) as no:
        for product_id, quantity in quantities:
            _put_back(products, product_id, quantity)
        return None
    return no[0]


@contextmanager
def _all_of(products: dict[int, _Held], ids: Iterable[int]) -> Iterator[list[Refused]]:
    """Change all of these products or, where one of the changes is refused, none. Gives the refusal then."""
    before = {id: products[id].change for id in ids if id in products}
    no: list[Refused] = []
    try:
        yield no
    except Refused as refused:
        no.append(refused)
        for id, change in before.items():
            products[id].change = change


def _take(products: dict[int, _Held], number: int, line: dict[str, int]) -> int:
    """Take what one line orders. Returns the price."""
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


def _put_back(products: dict[int, _Held], product_id: int, quantity: int) -> None:
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


def _locked(session: Session, ids: Iterable[int]) -> dict[int, _Held]:
    """The products, locked in primary-key order: two transactions that meet do so at the first common product, and
    neither waits for the other in a circle."""
    rows = session.execute(_LOCK, {"ids": sorted(set(ids))})
    return {row.id: _Held(row.stock, room(row.capacity), row.price) for row in rows}


def _write(session: Session, products: dict[int, _Held]) -> None:
    changed = {product_id: product.change for product_id, product in products.items() if product.change}
    if changed:
        session.execute(_WRITE, {"ids": list(changed), "changes": list(changed.values())})
