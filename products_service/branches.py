"""What the products service does in transactions that other services start."""

from __future__ import annotations

from sqlalchemy.orm import Session

from atomic_commit import Branches, Values
from products_service import branches_batch, stock

branches = Branches("products")


# Safe to redo: it takes just what the order holds, from whatever is in stock by then, and refuses where that is too
# little. (That the price may be another one by now does no harm: the order keeps what it was told the first time.)
@branches.branch(safe_to_redo=True)
def take_stock(session: Session, lines: list[dict[str, int]]) -> Values:
    """Take the ordered quantities out of stock. Returns each product's price as it is now, in the order of the lines.

    Refuses a product that is unknown or has too little stock.
    """
    products = stock.locked(session, [line["product_id"] for line in lines])
    prices = [stock.take(products, number, line) for number, line in enumerate(lines)]
    stock.write(session, products)
    return {"prices": prices}


# Safe to redo: what was recorded is added to whatever is in stock by then, or refused for lack of room.
@branches.branch(safe_to_redo=True)
def restock(session: Session, quantities: list[list[int]]) -> None:
    """Put quantities back: pairs of product id and quantity. Refuses what does not fit into the warehouse."""
    products = stock.locked(session, [product_id for product_id, _ in quantities])
    for product_id, quantity in quantities:
        stock.put_back(products, product_id, quantity)
    stock.write(session, products)


# The same for several at once: nothing above depends on it.
branches.batch(take_stock)(branches_batch.take_all)
branches.locks(take_stock)(branches_batch.lock_what_is_taken)
branches.batch(restock)(branches_batch.restock_all)
branches.locks(restock)(branches_batch.lock_what_comes_back)
