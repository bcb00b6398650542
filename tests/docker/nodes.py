"""pytest-celery's containers, as ours differ from them."""

from __future__ import annotations

from pytest_celery import CeleryWorkerContainer, RabbitMQContainer, RedisContainer
from pytest_docker_tools import wrappers


class Published(wrappers.Container):
    """Reached by its published port, always.

    Where a file /.dockerenv exists, pytest-docker-tools takes the tests for running in a container and answers the port
    inside, which pytest-celery then looks for on localhost: the tests would talk to whatever listens there.
    """

    def get_addr(self, port: str) -> tuple[str, int]:
        return "127.0.0.1", self.ports[port][0]

    def address(self, port: int) -> str:
        """``127.0.0.1:port`` as it is now: a restart publishes another one."""
        self.reload()
        host, published = self.get_addr(f"{port}/tcp")
        return f"{host}:{published}"


class RedisNode(Published, RedisContainer):
    """The broker, or the results: kept through a restart, by the append-only file that compose.yaml asks for."""

    @classmethod
    def command(cls, *args: str, **_: object) -> list[str]:
        return [*super().command(), "--appendonly", "yes", *args]


class RabbitMQNode(Published, RabbitMQContainer):
    """Ready when it listens: its log may say so only in a file."""

    @property
    def ready_prompt(self) -> None:
        return None


class DatabaseNode(Published):
    """Listens by TCP only when it has set itself up."""

    def ready(self) -> bool:
        return super().ready() and self.exec_run("pg_isready -q -h 127.0.0.1 -U postgres")[0] == 0


class ApiNode(Published):
    """One service's API."""


class WorkerNode(CeleryWorkerContainer):
    """One of our workers. Its queue is the label that it was started with."""

    def worker_queue(self) -> str:  # type: ignore[override]
        return str(self.attrs["Config"]["Labels"]["queue"])

    def worker_name(self) -> str:  # type: ignore[override]
        return self.worker_queue()

    def ready(self) -> bool:
        """It takes tasks: not what its log said, which may have been before it was restarted."""
        return wrappers.Container.ready(self) and self.exec_run(TAKES_TASKS)[0] == 0


#: As compose.yaml asks it.
TAKES_TASKS = ["sh", "-c", "test -n \"$(find /tmp/takes-tasks -newermt '-10 seconds')\""]
