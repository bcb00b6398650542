"""Failpoints: every step of the protocol where a process can die, for the tests that make it die there.

Off unless ``ATOMIC_FAILPOINTS`` names a folder when the process starts; then a point that is reached looks there for a
file of its own name and, if there is one, takes it away (so that it fires once, whoever gets there first) and does what
it says:

``kill``             SIGKILL to this process
``kill-group``       SIGKILL to its process group
``stop SECONDS``     SIGSTOP, and SIGCONT after so many seconds by a child that outlives the stop
``raise``            raise FailpointError, an error that nobody expects
``delay SECONDS``    sleep
``drop``             shut down the database connection that is in use at the point, if there is one

A first line ``after N`` lets N visits pass. The file ``fired/<name>`` tells that it happened, with the time and the
pid.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from celery import Task, current_task
from celery.signals import after_task_publish, task_success
from sqlalchemy import Connection
from sqlalchemy.orm import Session

_FOLDER = os.environ.get("ATOMIC_FAILPOINTS")

#: Every point, by where it stands. The tests walk through this list; ``reach`` refuses a name that is not in it.
FAILPOINTS = (
    # the API process, or whoever calls begin
    "begin.before_accept",
    "begin.before_commit",
    "begin.after_commit",
    "publish.before_attempt",
    "publish.after_attempt",
    # a branch worker
    "prepare.before_branch_row",
    "prepare.after_branch_row",
    "prepare.after_function",
    "prepare.after_prepare",
    "prepare.next_link_published",
    "prepare.result_stored",
    # the outcome worker of the coordinator
    "decide.before_votes",
    "decide.before_update",
    "decide.after_update",
    "decide.before_commit",
    "decide.after_commit",
    "give_up.before_update",
    "give_up.before_commit",
    "give_up.after_commit",
    "publish.before_outcome",
    "publish.after_outcome",
    "acknowledge.before_commit",
    "acknowledge.after_commit",
    "attempt.before_claim",
    "attempt.before_commit",
    "attempt.after_commit",
    # the outcome worker of a participant
    "commit.before_commit_prepared",
    "commit.after_commit_prepared",
    "rollback.before_rollback_prepared",
    "rollback.after_rollback_prepared",
    "rollback.before_tombstone",
    "rollback.after_tombstone",
    "outcome.answer_published",
    # recovery
    "sweep.before_claim",
    "sweep.after_claim",
    "sweep.after_look",
)


#: What outcome workers run; every other task is a branch.
_PROTOCOL_VERBS = frozenset(
    {
        *("decide", "review", "acknowledge", "awake", "commit", "rollback"),
        *("pause", "resume", "standing", "restore_point"),
    }
)


class FailpointError(Exception):
    """What the action ``raise`` raises."""


#: What is to happen in this process: ``armed``.
_armed: dict[str, Callable[[], object]] = {}


def reach(name: str, connection: Session | Connection | None = None) -> None:
    """Say that the process is at the point `name`; `connection` is the database connection in use there."""
    if _armed and name in _armed:
        _armed.pop(name)()
    if _FOLDER is not None:
        _reached(Path(_FOLDER), name, connection)


@contextlib.contextmanager
def armed(name: str, action: Callable[[], object]) -> Iterator[None]:
    """In the block `action` is called where this process reaches the point for the first time. Raises ValueError for a
    name that is no point's, AssertionError where it was not reached."""
    if name not in FAILPOINTS:
        raise ValueError(f"{name} is not a failpoint; there are {', '.join(FAILPOINTS)}")
    _armed[name] = action
    try:
        yield
        assert name not in _armed, f"{name} was not reached"
    finally:
        _armed.pop(name, None)


def connect_worker_failpoints() -> None:
    """Connect the points that lie in Celery's own code, between the end of a task and its acknowledgement."""
    if _FOLDER is None:
        return

    def published(sender: str, **_: object) -> None:
        if current_task and _verb(current_task.name) not in _PROTOCOL_VERBS:
            reach("prepare.next_link_published")
        elif _verb(sender) == "acknowledge":
            reach("outcome.answer_published")

    def succeeded(sender: Task, **_: object) -> None:
        if _verb(sender.name) not in _PROTOCOL_VERBS:
            reach("prepare.result_stored")

    after_task_publish.connect(published, weak=False)
    task_success.connect(succeeded, weak=False)


def _verb(task: str) -> str:
    return task.rpartition(".")[2]


def _reached(folder: Path, name: str, connection: Session | Connection | None) -> None:
    if name not in FAILPOINTS:
        raise ValueError(f"{name} is not a failpoint")
    actions = _taken(folder, name)
    if actions is None:
        return
    fired = folder / "fired"
    fired.mkdir(exist_ok=True)
    with open(fired / name, "a") as note:
        note.write(f"{time.time()} {os.getpid()} {actions}\n")
        note.flush()
        os.fsync(note.fileno())
    _act(name, actions, connection)


def _taken(folder: Path, name: str) -> str | None:
    """What the point's file says, if this visit is the one that fires. Renaming decides between rivals."""
    armed, mine = folder / name, folder / f"{name}.{os.getpid()}.{time.monotonic_ns()}"
    try:
        armed.rename(mine)
    except FileNotFoundError:
        return None
    text = mine.read_text().strip()
    mine.unlink()
    first, _, rest = text.partition("\n")
    if first.startswith("after ") and int(first.split()[1]) > 0:
        mine.write_text(f"after {int(first.split()[1]) - 1}\n{rest}")
        mine.rename(armed)
        return None
    return rest.strip() if first.startswith("after ") else text


def _act(name: str, action: str, connection: Session | Connection | None) -> None:
    verb, _, argument = action.partition(" ")
    if verb == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif verb == "kill-group":
        os.killpg(os.getpgrp(), signal.SIGKILL)
    elif verb == "stop":
        _stop(float(argument))
    elif verb == "raise":
        raise FailpointError(f"raised at {name}")
    elif verb == "delay":
        time.sleep(float(argument))
    elif verb == "drop":
        _drop(connection)
    else:
        raise ValueError(f"{name}: unknown action {action!r}")


def _stop(seconds: float) -> None:
    """Stop this process; a child, which a stop of the process does not stop, wakes it again."""
    waker = "import os, signal, sys, time; time.sleep(float(sys.argv[1])); os.kill(int(sys.argv[2]), signal.SIGCONT)"
    subprocess.Popen([sys.executable, "-c", waker, str(seconds), str(os.getpid())], start_new_session=True)
    os.kill(os.getpid(), signal.SIGSTOP)


def _drop(connection: Session | Connection | None) -> None:
    """Cut the connection's socket, as a network does: neither end is told."""
    if connection is None:
        return
    bound = connection.connection() if isinstance(connection, Session) else connection
    driver = bound.connection.driver_connection
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(driver.fileno())) as end:  # type: ignore[union-attr]
        end.shutdown(socket.SHUT_RDWR)
