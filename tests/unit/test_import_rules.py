"""The arrows of the design, section 4: who may import whom. Read from the sources, so that a lazy import counts too."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SERVICES = {"users_service", "products_service", "orders_service"}
PACKAGES = {"atomic_commit", "celery_config", "http_api", "service_roles", "embedded", "local_servers", *SERVICES}
#: Where a package lies, if not beside the others.
PLACES = {"atomic_commit": ROOT / "engine" / "src" / "atomic_commit"}
FLASK = {"flask", "flask_sqlalchemy", "flask_smorest", "werkzeug", "webargs", "marshmallow"}

#: package → the packages of this repository that it may import (beside itself)
ARROWS = {
    "atomic_commit": set(),
    "celery_config": {"atomic_commit"},
    "service_roles": {"atomic_commit", "celery_config"},
    "http_api": {"atomic_commit", "celery_config", "service_roles"},
    "embedded": {"celery_config", "local_servers"},  # the manifest
    "local_servers": set(),
    **{service: {"atomic_commit", "celery_config", "service_roles", "http_api"} for service in SERVICES},
}

#: package → what it knows beside the standard library, where the design says so
KNOWS = {
    "atomic_commit": {"sqlalchemy", "psycopg2", "celery"},  # psycopg2: the state of the driver after a PREPARE
    # billiard: what Celery's pools answer failures with; flower and tornado: Flower as this shop runs it
    "celery_config": {"celery", "kombu", "billiard", "flower", "tornado"},
    "local_servers": {"sqlalchemy"},  # makes the databases
}


def sources(package: str) -> list[Path]:
    found = sorted(PLACES.get(package, ROOT / package).rglob("*.py"))
    assert found, f"there is no package {package} in {ROOT}"
    return found


def package_of(file: Path) -> str:
    return next(part for part in file.relative_to(ROOT).parts if part in PACKAGES)


def imported(file: Path) -> Iterator[tuple[int, str]]:
    """Line and first word of every import in the file, also inside functions, and by ``import_module("…")``."""
    for node in ast.walk(ast.parse(file.read_text(), str(file))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name.partition(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, package_of(file) if node.level else (node.module or "").partition(".")[0]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            yield from ((node.lineno, str(ast.literal_eval(name)).partition(".")[0]) for name in node.args[:1])


def imports_of(package: str) -> dict[str, list[str]]:
    """What the package imports: first word → places."""
    found: dict[str, list[str]] = {}
    for file in sources(package):
        for line, name in imported(file):
            found.setdefault(name, []).append(f"{file.relative_to(ROOT)}:{line}")
    return found


def test_the_rules_name_every_package_of_the_repository() -> None:
    beside = {"tests", "benchmarks", "docs"}
    there = {
        file.parent.name for file in (*ROOT.glob("*/__init__.py"), *ROOT.glob("engine/src/*/__init__.py"))
    } - beside
    assert there == PACKAGES == ARROWS.keys()


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_a_package_imports_only_what_its_arrows_point_to(package: str) -> None:
    forbidden = (PACKAGES | {"tests"}) - ARROWS[package] - {package}
    found = {name: places for name, places in imports_of(package).items() if name in forbidden}
    assert not found, f"{package} must not import {found}"


@pytest.mark.parametrize("package", ["atomic_commit", "celery_config", "service_roles", "embedded", "local_servers"])
def test_the_protocol_and_its_surroundings_know_no_flask(package: str) -> None:
    found = {name: places for name, places in imports_of(package).items() if name in FLASK}
    assert not found, f"{package} must not import {found}"


@pytest.mark.parametrize("package", sorted(KNOWS))
def test_the_protocol_knows_sqlalchemy_and_celery_and_nothing_else(package: str) -> None:
    known = KNOWS[package] | ARROWS[package] | {package} | sys.stdlib_module_names
    found = {name: places for name, places in imports_of(package).items() if name not in known}
    assert not found, f"{package} must not import {found}"


@pytest.mark.parametrize("package", ["atomic_commit", "local_servers"])
def test_the_protocol_and_the_servers_know_no_word_of_the_shop(package: str) -> None:
    words = {*(service.removesuffix("_service") for service in SERVICES), "remove_user", "place_order", "cancel_order"}
    found = {
        f"{file.relative_to(ROOT)}:{node.lineno}": node.value
        for file in sources(package)
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Constant) and node.value in words
    }
    assert not found


def test_a_lazy_import_is_seen_too() -> None:
    lazily = [name for _, name in imported(ROOT / "service_roles" / "main.py")]
    assert "service_roles" in lazily  # `from service_roles.migrate import upgrade`, inside a function
