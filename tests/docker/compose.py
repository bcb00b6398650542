"""The project that compose.yaml describes, under a name, passwords and ports of its own."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from celery_config.manifest import SERVICES
from local_servers.settings import free_port
from tests.broker.waiting import wait_until
from tests.crash.containers import Containers, docker, is_well
from tests.docker.engine import ROOT, SHOP, NotHere

#: Of `up`, on a machine that does other work too.
UP_WITHIN = 300.0
#: Longer than any container's stop_grace_period: nobody is to be killed.
GRACE = 90

_SECRETS = ("POSTGRES", *(f"{service.upper()}_DB" for service in SERVICES), "REDIS", "RABBITMQ", "FLOWER")


class Project(Containers):
    """Its containers, as the engine knows them; `up` and `down` are Compose's."""

    def __init__(self, image: str = SHOP, files: Sequence[str] = ("compose.yaml",)) -> None:
        self.image, self._files = image, files
        self._words = _compose()
        self._ports = {service: free_port() for service in (*SERVICES, "flower")}
        super().__init__(f"shop-test-{secrets.token_hex(4)}", self._ports)

    def up(self, *words: str) -> None:
        """Returns when everybody is well: the gateway is when it has found the APIs."""
        self._compose("up", "-d", "--no-build", *words)
        try:
            wait_until(lambda: all(map(is_well, self.running())), "every container is well", UP_WITHIN, 0.5)
        except AssertionError as late:
            unwell = [service for name, service in self.running().items() if not is_well(name)]
            raise AssertionError(f"{late}\n{self._compose('logs', '--tail', '20', *unwell)}") from None

    def down(self) -> None:
        self._compose("down", "--volumes", "--timeout", "5")

    def restart(self, name: str) -> str:
        """Stop it as it wants to be stopped, start it, and wait until it is well. How long that took, in words."""
        began = time.monotonic()
        docker("stop", "--time", str(GRACE), name)
        stopped = time.monotonic()
        docker("start", name)
        wait_until(lambda: is_well(name), f"{name} is well again", UP_WITHIN, 0.2)
        return f"{name}: stopped after {stopped - began:.1f} s, well again after {time.monotonic() - began:.1f} s"

    def replace(self, service: str) -> str:
        """Make its container anew, of the image as it is now; wait until it is well. How long that took, in words."""
        began = time.monotonic()
        self._compose("up", "-d", "--no-build", "--no-deps", service)
        (name,) = [name for name, of in self.running().items() if of == service]
        used = docker("inspect", "--format", "{{.Config.Image}}", name).strip()
        assert used == self.image, f"{name} is made of {used}"
        wait_until(lambda: is_well(name), f"{name} is well", UP_WITHIN, 0.2)
        return f"{service}: replaced after {time.monotonic() - began:.1f} s"

    def run_again(self, service: str) -> None:
        """One that ends by itself, and well."""
        self._compose("run", "--rm", "--no-deps", service)

    @contextmanager
    def beside(self, service: str, image: str) -> Iterator[str]:
        """One more container of this service, of another image, while the block runs. Its name."""
        name = f"{self.project}-{service}-beside"
        self._compose("run", "-d", "--no-deps", "--name", name, service, SHOP_IMAGE=image)
        try:
            wait_until(lambda: is_well(name), f"{name} is well", UP_WITHIN, 0.2)
            yield name
            docker("stop", "--time", str(GRACE), name)
        finally:
            docker("rm", "--force", name)

    def _compose(self, *words: str, **settings: str) -> str:
        done = subprocess.run(
            [*self._words, *words],
            cwd=ROOT,
            env={**os.environ, **self._environment(), **settings},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert done.returncode == 0, f"{' '.join(words)}: {done.stdout}"
        return done.stdout

    def _environment(self) -> dict[str, str]:
        """Instead of an .env file, over which it wins."""
        return {
            "COMPOSE_PROJECT_NAME": self.project,
            "COMPOSE_FILE": os.pathsep.join(self._files),
            "SHOP_IMAGE": self.image,
            **{f"{service.upper()}_PORT": str(port) for service, port in self._ports.items()},
            **{f"{name}_PASSWORD": self.project for name in _SECRETS},
        }


def _compose() -> list[str]:
    """Compose v2, or v1 under its own name."""
    if shutil.which("docker") is None:
        raise NotHere("there is no docker command")
    for words in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(words[0]) and subprocess.run([*words, "version"], capture_output=True).returncode == 0:
            return words
    raise NotHere("there is neither `docker compose` nor `docker-compose`")
