"""RabbitMQ's quorum queues, and when a node can be killed without losing them."""

from __future__ import annotations

from pathlib import Path

from tests.broker.waiting import wait_until


def wait_until_queues_are_kept(state: Path) -> None:
    """Until the node in this state folder can be killed.

    It writes down which folder is whose quorum queue only seconds after the queue was declared; a node that is killed
    before that never finds the queue again (rabbitmq-server#15725), whoever its clients are.
    """
    (directory,) = (state / "rabbitmq").rglob("quorum/*/names.dets")

    def unknown() -> list[str]:
        known = directory.read_bytes()
        folders = [folder.name for folder in directory.parent.iterdir() if folder.is_dir()]
        return [folder for folder in folders if folder.encode() not in known]

    wait_until(lambda: not unknown(), "RabbitMQ has written down where its queues live")
