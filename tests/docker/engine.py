"""The Docker engine, the images that the tests run, and the one place where a container is started."""

from __future__ import annotations

import re
import secrets
from pathlib import Path
from typing import Any, TypeVar

import docker
import docker.errors
import requests
import yaml
from docker.models.images import Image
from docker.models.networks import Network
from pytest_docker_tools import wrappers

ROOT = Path(__file__).parents[2]
COMPOSE_FILES = ("compose.yaml", "compose.rabbitmq.yaml")

#: What compose.yaml calls the shop's own image.
SHOP = "atomic-shop"

#: Every container, network and volume of ours carries it.
LABEL = "atomic-shop.tests"

Node = TypeVar("Node", bound=wrappers.Container)


class NotHere(Exception):
    """What the tests need is not on this machine: they are skipped, with these words."""


def connect() -> docker.DockerClient:
    """The engine that the environment names, or this machine's own."""
    try:
        client = docker.from_env(timeout=120)
        client.ping()
    except (docker.errors.DockerException, requests.RequestException) as error:
        raise NotHere(f"no Docker engine answers: {error}") from error
    return client


def base_images() -> dict[str, str]:
    """Service → image, for everything that is not ours, as the Compose files name them."""
    found = {}
    for file in COMPOSE_FILES:
        for name, service in yaml.safe_load((ROOT / file).read_text())["services"].items():
            if "image" in service and SHOP not in service["image"]:
                found[name] = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", service["image"])
    return found


def provide_images(client: docker.DockerClient) -> dict[str, str]:
    """Service → image. The base images are here or can be pulled; ours is built from this working tree."""
    images = base_images()
    for image in sorted({*images.values(), *images_of_the_build()}):
        _provide(client, image)
    built: Image = client.images.build(path=str(ROOT), tag=SHOP, rm=True)[0]
    return {**images, "shop": built.id}


def images_of_the_build() -> set[str]:
    """What the Dockerfile builds on."""
    return set(re.findall(r"^FROM (\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE))


def _provide(client: docker.DockerClient, image: str) -> None:
    try:
        client.images.get(image)
    except docker.errors.ImageNotFound:
        try:
            client.images.pull(image)
        except (docker.errors.APIError, requests.RequestException) as error:
            raise NotHere(
                f"{image} is not here and cannot be pulled ({error}); tests/docker/base_images.sh builds stand-ins"
            ) from error


class Containers:
    """The containers of one test session, in one network. Everything is removed by `remove`."""

    def __init__(self, client: docker.DockerClient) -> None:
        self._client = client
        self._prefix = f"shop-test-{secrets.token_hex(4)}"
        self._started: list[wrappers.Container] = []
        self._network: Network = client.networks.create(self._prefix, labels={LABEL: ""})

    def host(self, name: str) -> str:
        """Where the others of the network reach it. RabbitMQ names its data for it, so it is the host's name too."""
        return f"{self._prefix}-{name}"

    def start(
        self, name: str, image: str, kind: type[Node], *, port: int | None = None, queue: str = "", **how: Any
    ) -> Node:
        """Start one, without waiting for it. Its port is published on an address of this machine alone."""
        raw = self._client.containers.run(
            image,
            name=self.host(name),
            hostname=self.host(name),
            network=self._network.name,
            ports={f"{port}/tcp": ("127.0.0.1", None)} if port else None,
            labels={LABEL: name, "queue": queue},
            detach=True,
            **how,
        )
        self._started.append(node := kind(raw))
        return node

    def stop(self, node: wrappers.Container, grace: int) -> None:
        """Told to end, and killed after so many seconds."""
        self._client.containers.get(node.id).stop(timeout=grace)

    def finish(self, image: str, command: list[str], environment: dict[str, str]) -> tuple[int, str]:
        """Run one that ends by itself. Its exit code, and what it said."""
        raw = self._client.containers.run(
            image, command, environment=environment, network=self._network.name, labels=[LABEL], detach=True
        )
        try:
            return int(raw.wait()["StatusCode"]), raw.logs().decode()
        finally:
            raw.remove(force=True)

    def remove(self) -> None:
        """With their anonymous volumes."""
        for node in reversed(self._started):
            self._client.containers.get(node.id).remove(force=True, v=True)
        self._network.remove()
