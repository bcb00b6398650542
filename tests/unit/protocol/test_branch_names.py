"""The names that services call each other's branches by: each is offered, each is used, always in one order."""

from __future__ import annotations

import inspect
from dataclasses import replace
from importlib import import_module
from pkgutil import iter_modules

import pytest
import sqlalchemy as sa
from celery import Celery

import celery_config.tasks
from atomic_commit import AtomicCommit, Branches, TransactionKind
from atomic_commit.names import service_of
from celery_config.manifest import COORDINATORS, LOCK_ORDER, SERVICES, SHOP
from orders_service.place_order import place_order
from tests.installation import INSTALLATION
from users_service.remove_user import remove_user

NAMES = {key: value for key, value in vars(celery_config.tasks).items() if key.isupper()}
OFFERED: dict[str, Branches] = {service: import_module(f"{service}_service.branches").branches for service in SERVICES}


def kinds_of(service: str) -> list[TransactionKind]:
    """What the modules of the service's package hold, but those that start a process."""
    package = import_module(f"{service}_service")
    names = [module.name for module in iter_modules(package.__path__, f"{package.__name__}.")]
    modules = [import_module(name) for name in names if not name.endswith(("__main__", ".celery"))]
    found = {id(kind): kind for one in modules for kind in vars(one).values() if isinstance(kind, TransactionKind)}
    return sorted(found.values(), key=lambda kind: kind.name)


COORDINATED = {service: kinds_of(service) for service in SERVICES}
KINDS = [kind for kinds in COORDINATED.values() for kind in kinds]

each_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)


@pytest.mark.parametrize("name", NAMES.values())
def test_every_name_is_a_branch_that_its_service_offers(name: str) -> None:
    assert name in OFFERED[service_of(name)].declared


@pytest.mark.parametrize("service", OFFERED)
def test_every_branch_that_a_service_offers_has_a_name_for_the_others(service: str) -> None:
    assert set(OFFERED[service].declared) <= set(NAMES.values())
    assert all(service_of(name) == service for name in OFFERED[service].declared)


@pytest.mark.parametrize(("constant", "name"), NAMES.items())
def test_the_constant_spells_the_name(constant: str, name: str) -> None:
    assert constant == name.replace(".", "_").upper()


@each_kind
def test_a_transaction_names_only_branches_that_somebody_offers(kind: TransactionKind) -> None:
    assert set(kind.branches) <= set(NAMES.values())


@each_kind
def test_branches_come_in_the_one_global_lock_order(kind: TransactionKind) -> None:
    positions = [LOCK_ORDER.index(service_of(branch)) for branch in kind.branches]
    assert positions == sorted(positions), kind.branches


@pytest.mark.parametrize(
    ("branches", "why"),
    [
        (("products.restock", "orders.cancel_user_orders"), "lock rows in the order products, orders"),
        (("warehouse.count",), "warehouse has no place in the lock order"),
    ],
)
def test_a_kind_that_does_not_follow_the_lock_order_does_not_start(branches: tuple[str, ...], why: str) -> None:
    wrong = replace(remove_user, branches=branches)
    with pytest.raises(ValueError, match=f"remove_user: .*{why}"):
        AtomicCommit(
            service="users",
            installation=INSTALLATION,
            engine=sa.create_engine("postgresql+psycopg2://nobody@127.0.0.1/nowhere"),
            celery=Celery(set_as_current=False),
            kinds=[wrong],
            lock_order=LOCK_ORDER,
        )


def test_every_service_has_its_place_in_the_lock_order() -> None:
    assert sorted(LOCK_ORDER) == sorted(SERVICES)
    assert len({service.lock_order for service in SHOP}) == len(SHOP)


def test_the_manifest_says_who_coordinates() -> None:
    assert {service for service, kinds in COORDINATED.items() if kinds} == set(COORDINATORS)


def test_no_name_is_left_over() -> None:
    assert {branch for kind in KINDS for branch in kind.branches} == set(NAMES.values())


def test_the_names_of_the_transactions_differ() -> None:
    assert len({kind.name for kind in KINDS}) == len(KINDS)


@pytest.mark.parametrize("service", OFFERED)
def test_every_branch_says_in_a_sentence_what_it_does(service: str) -> None:
    for branch in OFFERED[service].declared.values():
        assert inspect.getdoc(branch.function), branch.name


@each_kind
def test_each_transaction_stands_in_one_file_with_begin_commit_and_abort(kind: TransactionKind) -> None:
    assert kind.begin.__module__ == kind.commit.__module__
    if kind is not place_order:  # which marks nothing at its beginning, so it has nothing to take back
        assert kind.abort.__module__ == kind.begin.__module__
