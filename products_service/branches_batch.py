"""Several requests at once, with the statements of one: what ``branches`` does for each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from sqlalchemy.orm import Session

from atomic_commit import Refused, Values
from products_service import stock
from products_service.stock import Products


def take_all(session: Session, lines: list[list[dict[str, int]]]) -> list[Values | Refused]:
    products = stock.locked(session, _taken(lines))
    answers = [_take_lines(products, of_one) for of_one in lines]
    stock.write(session, products)
    return answers


def restock_all(session: Session, quantities: list[list[list[int]]]) -> list[Refused | None]:
    products = stock.locked(session, _coming_back(quantities))
    answers = [_put_all_back(products, of_one) for of_one in quantities]
    stock.write(session, products)
    return answers


def lock_what_is_taken(session: Session, lines: list[list[dict[str, int]]]) -> None:
    stock.locked(session, _taken(lines))


def lock_what_comes_back(session: Session, quantities: list[list[list[int]]]) -> None:
    stock.locked(session, _coming_back(quantities))


def _taken(lines: list[list[dict[str, int]]]) -> Iterator[int]:
    return (line["product_id"] for of_one in lines for line in of_one)


def _coming_back(quantities: list[list[list[int]]]) -> Iterator[int]:
    return (product_id for of_one in quantities for product_id, _ in of_one)


def _take_lines(products: Products, lines: list[dict[str, int]]) -> Values | Refused:
    with _all_of(products, (line["product_id"] for line in lines)) as no:
        return {"prices": [stock.take(products, number, line) for number, line in enumerate(lines)]}
    return no[0]


def _put_all_back(products: Products, quantities: list[list[int]]) -> Refused | None:
    with _all_of(products, (product_id for product_id, _ in quantities)) as no:
        for product_id, quantity in quantities:
            stock.put_back(products, product_id, quantity)
        return None
    return no[0]


@contextmanager
def _all_of(products: Products, ids: Iterable[int]) -> Iterator[list[Refused]]:
    """Change all of these products or, where one of the changes is refused, none. Gives the refusal then."""
    before = {id: products[id].change for id in ids if id in products}
    no: list[Refused] = []
    try:
        yield no
    except Refused as refused:
        no.append(refused)
        for id, change in before.items():
            products[id].change = change
