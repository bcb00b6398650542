"""One shop of containers: three PostgreSQL servers, a broker, the results, and every service's three processes."""

from __future__ import annotations

import secrets
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import docker
import yaml

from celery_config.manifest import SERVICES
from local_servers.json_http import call
from tests.broker.shopkeeper import BRANCH_WORKERS, WORKERS
from tests.broker.waiting import wait_until
from tests.docker.engine import ROOT, Containers
from tests.docker.nodes import ApiNode, DatabaseNode, Published, RabbitMQNode, RedisNode, WorkerNode
from tests.installation import INSTALLATION

APIS = tuple(f"{service}-api" for service in SERVICES)
#: A cold start of a dozen containers on a busy machine.
START_WITHIN = 120.0
#: What compose.yaml allows the shop's own containers, no more.
CONTAINED: dict[str, Any] = {
    "read_only": True,
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges:true"],
    "tmpfs": {"/tmp": ""},
    "init": True,
    # kombu may end a worker whose broker goes away while it holds a message. What a test kills stays down.
    "restart_policy": {"Name": "unless-stopped"},
}


class Cluster:
    """Stands in for the launcher's shop where a `Shopkeeper` asks for it: the same names, the same verbs.

    Each branch worker has a folder for the failpoints (`atomic_commit.testing.failpoints`) on this machine.
    """

    def __init__(self, client: docker.DockerClient, images: dict[str, str], broker: str) -> None:
        self.broker_name, self._images = broker, images
        self._containers = Containers(client)
        self._password = secrets.token_hex(8)
        self._points = Path(tempfile.mkdtemp(prefix="points-"))
        self.nodes: dict[str, Any] = {}
        try:
            self._start_servers()
            self._migrate()
            self._start_services()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        self._containers.remove()
        shutil.rmtree(self._points)

    # ---- what a Shopkeeper asks of a shop

    @property
    def names(self) -> tuple[str, ...]:
        return APIS + WORKERS

    @property
    def broker_url(self) -> str:
        return self.nodes[self.broker_name].celeryconfig["host_url"]

    @property
    def result_backend_url(self) -> str:
        return self.nodes["results"].celeryconfig["host_url"]

    def url(self, service: str) -> str:
        return f"http://{self.nodes[f'{service}-api'].address(8000)}"

    def admin_url(self, database: str) -> str:
        server = self.nodes[f"{database}-db"]
        return f"postgresql://postgres:{self._password}@{server.address(5432)}/{database}"

    def log_of(self, name: str) -> str:
        return str(self.nodes[name].logs())

    def bring_up(self, name: str) -> None:
        """Start it, if it does not run, and wait until it is ready."""
        node = self.nodes[name]
        node.reload()
        if node.status != "running":
            node.restart(timeout=60)
        self.wait_ready(name)

    def hold_down(self, name: str, *, kill: bool = False) -> None:
        """End it, so that it stays down until it is brought up."""
        self._containers.stop(self.nodes[name], grace=0 if kill else 60)

    def wait_ready(self, name: str) -> None:
        if name in APIS:
            ready = f"{self.url(name.removesuffix('-api'))}/readyz"
            wait_until(lambda: call("GET", ready).status == 200, f"{name} is ready", START_WITHIN, every=0.2)
        else:
            wait_until(self.nodes[name].ready, f"{name} is ready", START_WITHIN, every=0.2)

    def run(self, service: str, *command: str) -> tuple[int, str]:
        """Run a command of the service in a container of its own. Its exit code, and what it said."""
        return self._containers.finish(self._images["shop"], list(command), self._environment(service))

    # ---- failpoints

    def arm(self, worker: str, point: str, action: str) -> None:
        """Have the worker do this when it next gets there."""
        (self._points / worker / point).write_text(action)

    def wait_fired(self, worker: str, point: str) -> None:
        """Wait until it has got there."""
        fired = self._points / worker / "fired" / point
        wait_until(fired.exists, f"{worker} is at {point}", every=0.01)
        fired.unlink()

    # ---- start

    def _start_servers(self) -> None:
        start = self._containers.start
        for service in SERVICES:
            self.nodes[f"{service}-db"] = start(
                f"{service}-db",
                self._images[f"{service}-db"],
                DatabaseNode,
                port=5432,
                command=_database_command(),
                environment={
                    "POSTGRES_PASSWORD": self._password,
                    "SERVICE": service,
                    "SERVICE_ROLE": f"{service}_service",
                    "SERVICE_PASSWORD": self._password,
                },
                volumes=[f"{ROOT}/docker/service-database.sql:/docker-entrypoint-initdb.d/service-database.sql:ro"],
            )
        self.nodes["results"] = self._start_redis("results")
        if self.broker_name == "redis":
            self.nodes["redis"] = self._start_redis("redis")
        else:
            self.nodes["rabbitmq"] = start("rabbitmq", self._images["rabbitmq"], RabbitMQNode, port=5672)
        self._wait_for([*self.nodes])

    def _start_redis(self, name: str) -> RedisNode:
        return self._containers.start(name, self._images["redis"], RedisNode, port=6379, command=RedisNode.command())

    def _migrate(self) -> None:
        for service in SERVICES:
            code, said = self.run(service, "python", "-m", f"{service}_service", "migrate")
            assert code == 0, said

    def _start_services(self) -> None:
        for name in APIS + WORKERS:
            service, _, role = name.partition("-")
            folder = self._points / name
            folder.mkdir()
            folder.chmod(0o777)  # the image's user writes there, who is nobody on this machine
            kind: type[Published | WorkerNode] = ApiNode if name in APIS else WorkerNode
            self.nodes[name] = self._containers.start(
                name,
                self._images["shop"],
                kind,
                port=8000 if name in APIS else None,
                command=["python", "-m", f"{service}_service", role],
                environment={**self._environment(service), "ATOMIC_FAILPOINTS": "/points"},
                queue=(INSTALLATION.branch_queue if name in BRANCH_WORKERS else INSTALLATION.outcome_queue)(service),
                volumes=[f"{folder}:/points"],
                **CONTAINED,
            )
        self._wait_for(list(self.names))

    def _environment(self, service: str) -> dict[str, str]:
        host = self._containers.host
        scheme = "redis" if self.broker_name == "redis" else "amqp"
        return {
            "DATABASE_URL": f"postgresql://{service}_service:{self._password}@{host(f'{service}-db')}:5432/{service}",
            "BROKER_URL": f"{scheme}://{host(self.broker_name)}",
            "RESULT_BACKEND_URL": f"redis://{host('results')}:6379/0",
            "ATOMIC_INSTALLATION": INSTALLATION.name,
            "WEB_BIND": "0.0.0.0",
            "PORT": "8000",
            "HEARTBEAT_FILE": "/tmp/takes-tasks",
            # A silent attempt is given up after 2 s: what a test kills is missed sooner.
            "ATOMIC_PATIENCE": "2",
        }

    def _wait_for(self, names: list[str]) -> None:
        with ThreadPoolExecutor(len(names)) as pool:
            list(pool.map(self.wait_ready, names))


def _database_command() -> list[str]:
    """What compose.yaml starts PostgreSQL with."""
    return list(yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]["users-db"]["command"])
