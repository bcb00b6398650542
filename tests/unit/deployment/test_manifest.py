"""What is no Python can't read the manifest: each file that names the services by hand names all of them, and no other.

How to add one: docs/how-to/adding-a-service.md.
"""

from __future__ import annotations

import re
import tomllib
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml

from atomic_commit import Branches
from celery_config import tasks
from celery_config.manifest import PORTS, SERVICES, SHOP
from embedded.services import ROLES

ROOT = Path(__file__).resolve().parents[3]
KUBERNETES = "deploy/kubernetes"

each_service = pytest.mark.parametrize("service", SERVICES)


@cache
def text_of(file: str) -> str:
    return (ROOT / file).read_text()


@cache
def compose(file: str = "compose.yaml") -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(text_of(file))
    return found


def misses(file: str, wanted: set[str], found: set[str]) -> str:
    """What to tell where `file` does not name all that is wanted; empty where it does."""
    return f"{file} misses {', '.join(sorted(wanted - found))}" if wanted - found else ""


def assert_names(file: str, wanted: set[str], found: set[str]) -> None:
    assert not (missing := misses(file, wanted, found)), missing


def containers(service: str) -> set[str]:
    return {f"{service}-{role}" for role in ROLES}


# ---- the manifest itself


def test_no_two_services_share_a_name_a_port_or_a_place_in_the_lock_order() -> None:
    for values in zip(*((one.name, one.port, one.lock_order) for one in SHOP), strict=True):
        assert len(set(values)) == len(SHOP)


# ---- the service's package, and its branches' names


@each_service
def test_the_package_has_what_every_role_starts(service: str) -> None:
    modules = {"__init__", "__main__", "app", "branches", "celery", "models", "routes", "migrations/env"}
    there = {module for module in modules if (ROOT / f"{service}_service" / f"{module}.py").is_file()}
    assert_names(f"{service}_service", modules, there)
    assert list((ROOT / f"{service}_service" / "migrations" / "versions").glob("*.py"))


@each_service
def test_every_branch_has_its_name_in_the_list(service: str) -> None:
    branches: Branches = import_module(f"{service}_service.branches").branches
    assert branches.service == service
    names = {value for name, value in vars(tasks).items() if name.isupper()}
    assert_names("celery_config/tasks.py", set(branches.declared), names)


# ---- the image and the types


@each_service
def test_the_image_has_the_package(service: str) -> None:
    assert_names(".dockerignore", {f"!{service}_service"}, set(text_of(".dockerignore").splitlines()))


@each_service
def test_the_types_are_checked(service: str) -> None:
    checked = tomllib.loads(text_of("pyproject.toml"))["tool"]["mypy"]["files"]
    assert_names("pyproject.toml", {f"{service}_service"}, set(checked))


# ---- Compose


@each_service
def test_compose_has_the_service_with_its_database(service: str) -> None:
    wanted = {*containers(service), f"{service}-db", f"{service}-migrate"}
    assert_names("compose.yaml", wanted, set(compose()["services"]))
    assert_names("compose.yaml", {f"{service}-data"}, set(compose()["networks"]))
    assert_names("compose.yaml", {f"{service}-data"}, set(compose()["volumes"]))


@each_service
def test_compose_starts_each_role_as_its_name_says(service: str) -> None:
    for role in (*ROLES, "migrate"):
        container = compose()["services"][f"{service}-{role}"]
        assert container["command"] == ["python", "-m", f"{service}_service", role]
        assert container["environment"]["DATABASE_URL"].endswith(f"@{service}-db:5432/{service}")
        assert {network for network in container["networks"] if network.endswith("-data")} == {f"{service}-data"}


@each_service
def test_composes_gateway_opens_the_door_when_all_are_at_work(service: str) -> None:
    gateway = compose()["services"]["gateway"]
    assert_names("compose.yaml", containers(service), set(gateway["depends_on"]))
    port = PORTS[service]
    assert_names("compose.yaml", {f"127.0.0.1:${{{service.upper()}_PORT:-{port}}}:{port}"}, set(gateway["ports"]))


@each_service
def test_compose_on_rabbitmq_sends_all_of_it_there(service: str) -> None:
    assert_names("compose.rabbitmq.yaml", containers(service), set(compose("compose.rabbitmq.yaml")["services"]))


@each_service
def test_the_gateway_knows_the_way(service: str) -> None:
    lines = {line.strip() for line in text_of("docker/haproxy.cfg").splitlines()}
    wanted = {
        f"bind :{PORTS[service]} name {service}",
        f"backend {service}",
        f"server-template api 10 {service}-api:8000",
    }
    assert_names("docker/haproxy.cfg", wanted, lines)
    (well,) = (line for line in lines if line.startswith("monitor fail"))
    assert_names("docker/haproxy.cfg: monitor fail", {service}, set(re.findall(r"nbsrv\((\w+)\)", well)))


@each_service
def test_the_example_of_an_env_file_has_password_and_port(service: str) -> None:
    wanted = {f"{service.upper()}_DB_PASSWORD=change-me-{service}", f"#{service.upper()}_PORT={PORTS[service]}"}
    assert_names(".env.example", wanted, set(text_of(".env.example").splitlines()))


# ---- Kubernetes (test_kubernetes.py looks inside)


@each_service
def test_kubernetes_has_the_service(service: str) -> None:
    base = f"{KUBERNETES}/base"
    assert_names(f"{base}/kustomization.yaml", {service}, set(compose(f"{base}/kustomization.yaml")["resources"]))
    assert {file.name for file in (ROOT / base / service).iterdir()} >= {"kustomization.yaml", "database.env"}


@each_service
def test_kubernetes_has_its_database(service: str) -> None:
    component = f"{KUBERNETES}/components/cloudnative-pg"
    said = compose(f"{component}/kustomization.yaml")
    assert_names(f"{component}/kustomization.yaml", {f"{service}.yaml"}, set(said["resources"]))
    patched = re.findall(r"name=(\w+)|metadata: \{name: (\w+)-database\}", text_of(f"{component}/kustomization.yaml"))
    assert len([one for one in patched if service in one]) == 2, f"{component}/kustomization.yaml: patches of {service}"
    (everybody,) = re.findall(r"values: \[(.+)\]", text_of(f"{component}/network.yaml"))
    assert_names(f"{component}/network.yaml", {f"{service}-database"}, set(everybody.split(", ")))


# ---- and nobody else


def test_nobody_is_left_who_is_not_in_the_manifest() -> None:
    in_compose = {name.removesuffix("-db") for name in compose()["services"] if name.endswith("-db")}
    let_in = {line[1:] for line in text_of(".dockerignore").splitlines() if line.endswith("_service")}
    packages = {folder.name for folder in ROOT.glob("*_service")}
    assert in_compose == set(SERVICES)
    assert let_in == packages == {f"{service}_service" for service in SERVICES}


def test_what_is_missing_is_said_with_the_file() -> None:
    assert misses("compose.yaml", {"a", "b"}, {"a"}) == "compose.yaml misses b"
    assert misses("compose.yaml", {"a"}, {"a", "b"}) == ""
