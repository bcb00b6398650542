"""The arrows of the design, section 4: who may import whom. Read from the sources, so that a lazy import counts too,
and a module that is only named in a string, as Celery and gunicorn want it."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from celery_config import manifest

ROOT = Path(__file__).resolve().parents[3]
ENGINE = ROOT / "engine" / "src" / "atomic_commit"
SERVICES = {f"{service}_service" for service in manifest.SERVICES}
PACKAGES = {"atomic_commit", "celery_config", "http_api", "service_roles", "embedded", "local_servers", *SERVICES}
FLASK = {"flask", "flask_sqlalchemy", "flask_smorest", "werkzeug", "webargs", "marshmallow"}

#: package → the packages of this repository that it may import (beside itself)
ARROWS = {
    "atomic_commit": set(),
    "celery_config": {"atomic_commit"},
    "http_api": {"atomic_commit"},
    "service_roles": {"atomic_commit", "celery_config", "http_api"},
    "local_servers": set(),
    "embedded": {"celery_config", "local_servers"},  # the manifest
    **{service: {"atomic_commit", "celery_config", "service_roles", "http_api"} for service in SERVICES},
}

#: package → what it knows beside the standard library, where the design says so
KNOWS = {
    # psycopg2: the state of the driver after a PREPARE. kombu, billiard: what Celery's workers are made of.
    "atomic_commit": {"sqlalchemy", "psycopg2", "celery", "kombu", "billiard", "pytest"},  # pytest: in its plugin
    "celery_config": {"celery", "flower", "tornado"},  # Flower as this shop runs it
    "local_servers": {"sqlalchemy"},  # makes the databases
}

#: What stands at the top of the engine: values and pure functions, which know each other only.
TOP = {"declare", "errors", "limits", "names", "votes"}
#: room of the engine → the other rooms that it may import, beside the top
ROOMS = {
    "testing": set(),
    "postgres": set(),
    "journal": {"postgres"},
    "wire": {"journal", "testing"},
    "participant": {"wire", "postgres", "testing"},
    "coordinator": {"wire", "journal", "postgres", "testing"},
    "workers": {"testing"},
    "verify": {"wire", "journal", "postgres"},
    "cli": {"coordinator", "journal", "participant", "postgres", "verify", "workers", "engine"},
}
#: The kit for tests: it puts services together, and nothing of the engine imports it.
_KIT = {"atomic_commit.testing.line", "atomic_commit.testing.plugin"}
#: Files that put the rooms together.
_FACES = {"__init__", "__main__", "engine"}


def sources(package: str) -> list[Path]:
    found = sorted((ENGINE if package == "atomic_commit" else ROOT / package).rglob("*.py"))
    assert found, f"there is no package {package} in {ROOT}"
    return found


def module_of(file: Path) -> str:
    """``users_service.app``; of an ``__init__`` the package's own name."""
    base = ENGINE.parent if ENGINE in file.parents else ROOT
    return ".".join(file.relative_to(base).with_suffix("").parts).removesuffix(".__init__")


#: ``package.module``, ``python:package.module``, ``package.module:attribute``
_NAMED = re.compile(rf"(?:python:)?((?:{'|'.join(sorted(PACKAGES))})(?:\.[a-z_]\w*)+)(?::\w+)?")


def imported(file: Path) -> Iterator[tuple[int, str]]:
    """Line and full name of every import in the file, also inside functions, by ``import_module("…")``, and in strings;
    ``from a.b import c`` as ``a.b.c``."""
    documents = set()
    for node in ast.walk(ast.parse(file.read_text(), str(file))):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node, clean=False):
            documents.add(id(node.body[0].value))
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = module_of(file).split(".")[: 1 - node.level or None] if node.level else []
            yield from ((node.lineno, ".".join([*base, node.module or "", alias.name])) for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            yield from ((node.lineno, name.value) for name in node.args[:1] if isinstance(name, ast.Constant))
        elif id(node) not in documents and (named := _NAMED.fullmatch(_text_of(node))):
            yield node.lineno, named[1]


def _text_of(node: ast.AST) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def imports_of(package: str) -> dict[str, list[str]]:
    """What the package imports: first word → places."""
    found: dict[str, list[str]] = {}
    for file in sources(package):
        for line, name in imported(file):
            found.setdefault(name.partition(".")[0], []).append(f"{file.relative_to(ROOT)}:{line}")
    return found


def test_the_rules_name_every_package_of_the_repository() -> None:
    beside = {"tests", "benchmarks", "docs", "examples"}
    there = {file.parent.name for place in (ROOT, ENGINE.parent) for file in place.glob("*/__init__.py")} - beside
    assert there == PACKAGES == ARROWS.keys()


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_a_package_imports_only_what_its_arrows_point_to(package: str) -> None:
    forbidden = (PACKAGES | {"tests"}) - ARROWS[package] - {package}
    found = {name: places for name, places in imports_of(package).items() if name in forbidden}
    assert not found, f"{package} must not import {found}"


@pytest.mark.parametrize("package", ["atomic_commit", "celery_config", "embedded", "local_servers"])
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


# ---- the engine's rooms


def test_the_rules_name_every_room_of_the_engine() -> None:
    assert {file.parent.name for file in ENGINE.glob("*/__init__.py")} == ROOMS.keys()
    assert {file.stem for file in ENGINE.glob("*.py")} == TOP | _FACES


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_a_room_imports_only_what_its_arrows_point_to(room: str) -> None:
    allowed = TOP | ROOMS[room] | {room}
    found = [
        f"{file.relative_to(ROOT)}:{line}: {name}"
        for file in (ENGINE / room).rglob("*.py")
        if module_of(file) not in _KIT
        for line, name in imported(file)
        if name.startswith("atomic_commit.") and name.split(".")[1] not in allowed and not _only_for_types(file, line)
    ]
    assert not found


@pytest.mark.parametrize("name", sorted(TOP))
def test_the_top_of_the_engine_knows_no_room(name: str) -> None:
    ours = [found for _, found in imported(ENGINE / f"{name}.py") if found.startswith("atomic_commit")]
    assert all(found.split(".")[1] in TOP for found in ours), ours


def test_nothing_of_the_engine_imports_the_kit_for_tests() -> None:
    found = {
        f"{file.relative_to(ROOT)}:{line}: {name}"
        for file in sources("atomic_commit")
        for line, name in imported(file)
        if module_of(file) not in _KIT and any(name == kit or name.startswith(f"{kit}.") for kit in _KIT)
    }
    assert not found


def _only_for_types(file: Path, line: int) -> bool:
    """Whether the line stands below ``if TYPE_CHECKING:``: it names a type, and imports nothing."""
    return any(first < line <= last for first, last in _blocks_for_types(file))


@cache
def _blocks_for_types(file: Path) -> list[tuple[int, int]]:
    """First and last line of each."""
    blocks = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.If)]
    return [(b.lineno, b.end_lineno or 0) for b in blocks if ast.unparse(b.test) == "TYPE_CHECKING"]


# ---- circles


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Lazy imports and names in strings included; what stands for types alone is not imported."""
    modules = {module_of(file): file for package in PACKAGES for file in sources(package)}
    arrows = {
        name: {
            found
            for line, imported_name in imported(file)
            if (found := _module(imported_name, modules)) and found != name and not _only_for_types(file, line)
        }
        for name, file in modules.items()
    }
    assert not _circles(arrows)


def _module(name: str, modules: dict[str, Path]) -> str | None:
    """The module that an import of `name` runs: itself, or the one that holds it."""
    while name and name not in modules:
        name = name.rpartition(".")[0]
    return name or None


def _circles(arrows: dict[str, set[str]]) -> list[str]:
    """What is left when modules that import nothing that is left are taken away, again and again; and then those that
    nothing that is left imports: circles, and ways between them."""
    left = dict(arrows)
    while gone := {name for name, targets in left.items() if not targets & left.keys()}:
        left = {name: targets for name, targets in left.items() if name not in gone}
    while gone := left.keys() - set().union(*left.values(), set()):
        left = {name: targets for name, targets in left.items() if name not in gone}
    return [f"{name} → {', '.join(sorted(targets & left.keys()))}" for name, targets in sorted(left.items())]


# ---- the rules themselves


def test_a_circle_is_found() -> None:
    assert _circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}) == ["b → c", "c → b"]


def test_a_lazy_import_is_seen_too() -> None:
    assert "service_roles.migrate.upgrade" in [name for _, name in imported(ROOT / "service_roles" / "main.py")]


def test_a_module_named_in_a_string_is_seen_too() -> None:
    assert "http_api.gunicorn_conf" in [name for _, name in imported(ROOT / "service_roles" / "main.py")]
    in_settings = [name for _, name in imported(ENGINE / "workers" / "settings.py")]
    assert "atomic_commit.workers.consumer" in in_settings
