"""What a branch does for one request and what its form for several does are written apart: for the same request both
answer the same, change the same, and refuse with the same words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import sqlalchemy as sa
from eager_shop import TABLES, EagerShop
from sqlalchemy.orm import Session

from atomic_commit import Conflict, Refused
from atomic_commit.declare import BranchDeclaration, Values
from atomic_commit.names import service_of
from orders_service.branches import branches as orders
from products_service.branches import branches as products
from users_service.branches import branches as users

BRANCHES = {**users.declared, **products.declared, **orders.declared}

Request = Callable[["Stage"], Values]


@dataclass(frozen=True)
class Stage:
    """Ids of what the requests are about."""

    ada: int
    #: being removed
    leaving: int
    #: has an order that is being cancelled
    cancelling: int
    without_orders: int
    #: 9 in stock, of at most 20
    teapot: int
    #: 6 in stock, of any number
    kettle: int
    unknown: int = 999_999


@pytest.fixture
def stage(shop: EagerShop) -> Iterator[Stage]:
    teapot, kettle = shop.add_product("teapot", stock=20, capacity=20), shop.add_product("kettle", stock=9)
    ada, leaving, cancelling, without = (shop.add_user(name) for name in ("Ada", "Eve", "Grace", "Joan"))
    for lines in ({teapot: 2, kettle: 1}, {kettle: 2}, {teapot: 3}):
        shop.place_order(ada, lines)
    shop.fulfil(shop.place_order(ada, {teapot: 1}))
    shop.cancel(shop.place_order(ada, {teapot: 1})).expect(200)
    order = shop.place_order(cancelling, {teapot: 5})
    begun = (
        ("users", shop.begin("users", "remove_user", user_id=leaving)),
        ("orders", shop.begin("orders", "cancel_order", order_id=order)),
    )
    assert (shop.stock_of(teapot), shop.stock_of(kettle)) == (9, 6)
    yield Stage(ada, leaving, cancelling, without, teapot, kettle)
    for service, record in begun:
        shop.abort(service, record)
    shop.recover()


def lines(*wanted: tuple[str, int]) -> Request:
    return lambda stage: {
        "lines": [{"product_id": getattr(stage, name), "quantity": quantity} for name, quantity in wanted]
    }


def quantities(*held: tuple[str, int]) -> Request:
    return lambda stage: {"quantities": [[getattr(stage, name), quantity] for name, quantity in held]}


def of(user: str) -> Request:
    return lambda stage: {"user_id": getattr(stage, user)}


GRANTED = {
    "an active user is held": ("users.hold_active_user", of("ada")),
    "one product is taken": ("products.take_stock", lines(("teapot", 3))),
    "all there is is taken": ("products.take_stock", lines(("kettle", 6), ("teapot", 9))),
    "a product is taken twice": ("products.take_stock", lines(("teapot", 4), ("kettle", 1), ("teapot", 5))),
    "products come back": ("products.restock", quantities(("kettle", 7), ("teapot", 2))),
    "a product comes back twice": ("products.restock", quantities(("teapot", 5), ("kettle", 1), ("teapot", 6))),
    "nothing comes back": ("products.restock", quantities()),
    "open orders are cancelled": ("orders.cancel_user_orders", of("ada")),
    "there are no orders": ("orders.cancel_user_orders", of("without_orders")),
    "there is no such user": ("orders.cancel_user_orders", of("unknown")),
}
REFUSED = {
    "an unknown user": ("users.hold_active_user", of("unknown"), "unknown_user"),
    "a user who is being removed": ("users.hold_active_user", of("leaving"), "user_is_being_removed"),
    "an unknown product": ("products.take_stock", lines(("teapot", 1), ("unknown", 1)), "unknown_product"),
    "too little stock": ("products.take_stock", lines(("kettle", 1), ("teapot", 10)), "insufficient_stock"),
    "too little stock for the second line": (
        "products.take_stock",
        lines(("teapot", 5), ("kettle", 1), ("teapot", 5)),
        "insufficient_stock",
    ),
    "an unknown product comes back": ("products.restock", quantities(("teapot", 1), ("unknown", 1)), "unknown_product"),
    "no room": ("products.restock", quantities(("kettle", 1), ("teapot", 12)), "no_room"),
    "no room for the second": ("products.restock", quantities(("teapot", 6), ("kettle", 1), ("teapot", 6)), "no_room"),
}


def plain(branch: BranchDeclaration, session: Session, values: Mapping[str, Any]) -> Values:
    """As one request is served."""
    return branch.call(session, values)


def batch(branch: BranchDeclaration, session: Session, values: Mapping[str, Any]) -> Values:
    """As several are, but alone; its Refused raised."""
    answers = branch.call_batch(session, [values])
    assert answers is not None, f"{branch.name} has no form for several"
    (answer,) = answers
    if isinstance(answer, Refused):
        raise answer
    return answer


def rows(session: Session, service: str) -> list[Any]:
    return [
        session.execute(sa.text(f"SELECT json_agg(t ORDER BY t::text) FROM {table} t")).scalar_one()
        for table in TABLES[service]
    ]


@pytest.mark.parametrize(("name", "request_of"), GRANTED.values(), ids=GRANTED)
def test_both_forms_answer_and_change_the_same(shop: EagerShop, stage: Stage, name: str, request_of: Request) -> None:
    seen = []
    for ask in (plain, batch):
        with Session(shop.engines[service_of(name)]) as session:
            seen.append((ask(BRANCHES[name], session, request_of(stage)), rows(session, service_of(name))))
            session.rollback()
    assert seen[0] == seen[1]


@pytest.mark.parametrize(("name", "request_of", "reason"), REFUSED.values(), ids=REFUSED)
def test_both_forms_refuse_with_the_same_words_and_change_nothing(
    shop: EagerShop, stage: Stage, name: str, request_of: Request, reason: str
) -> None:
    said = []
    for ask in (plain, batch):
        with Session(shop.engines[service_of(name)]) as session:
            before = rows(session, service_of(name))
            with pytest.raises(Refused) as refused:
                ask(BRANCHES[name], session, request_of(stage))
            assert rows(session, service_of(name)) == before
            said.append(refused.value.args)
    assert said[0] == said[1]
    assert said[0][0] == reason


def test_both_forms_find_the_order_that_is_being_cancelled(shop: EagerShop, stage: Stage) -> None:
    said = []
    for ask in (plain, batch):
        with Session(shop.engines["orders"]) as session, pytest.raises(Conflict) as conflict:
            ask(BRANCHES["orders.cancel_user_orders"], session, {"user_id": stage.cancelling})
        said.append(conflict.value.args)
    assert said[0] == said[1]


def test_an_answer_adds_up_what_all_orders_held_in_the_order_of_the_products(shop: EagerShop, stage: Stage) -> None:
    with Session(shop.engines["orders"]) as session:
        held = plain(BRANCHES["orders.cancel_user_orders"], session, {"user_id": stage.ada})
    assert held == {"quantities": [[stage.teapot, 5], [stage.kettle, 3]]}
