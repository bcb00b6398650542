"""A restore point: one name in the log of every server, at which the databases of all services fit together.

All points are set while nobody decides anywhere. So the services go in step, and each waits for all others at each
step: *ready* (what may take long or say no is behind it), *held* (decisions are), *set*. Who can't go on lets go and
says so, or is missed after a moment; then all let go.

docs/internals/protocol.md argues why points that are set so fit together. It rests on no message, and on no clock: a
service says that it has set the point only if its own hold, which ends with a commit, has lasted until it had heard
that all points are set.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from enum import StrEnum
from typing import TypedDict

from celery import Celery
from sqlalchemy import Engine, text

from atomic_commit.coordinator.hold_decisions import decisions_held
from atomic_commit.errors import Conflict
from atomic_commit.postgres.confirmed import flush
from atomic_commit.postgres.database import translated_errors
from atomic_commit.postgres.identity import Identity
from atomic_commit.wire.conversation import Conversation

log = logging.getLogger(__name__)

#: Seconds that a service waits for the others to be ready, and for each further step, while it holds decisions. The
#: latter is less than the server grants it.
_READY_FOR, _HOLDS_FOR = 8.0, 1.5


class Step(StrEnum):
    """What a service says of itself, in this order."""

    READY = "restore-point-ready"
    HELD = "restore-point-held"
    SET = "restore-point-set"
    #: In place of any: it has not set the point, and will not.
    LEFT = "restore-point-left"


_IN_ORDER = (Step.READY, Step.HELD, Step.SET)


class PointSet(TypedDict):
    """``at``: where in the server's log the point is. ``held``: seconds for which decisions were held."""

    at: str
    held: float


class RestorePoints:
    """The part of one service, on its database (`engine`)."""

    def __init__(self, engine: Engine, identity: Identity, celery: Celery) -> None:
        self._engine, self._identity, self._celery = engine, identity, celery

    def take_part(self, name: str, services: Sequence[str], conversation: str) -> PointSet:
        """Set the point `name` in step with the others of `services`, who are all given the same `conversation`, a
        name that nobody else uses. That it returns says that the point is flushed, and that decisions were held here
        from before the first point was set until the last one was.

        Raises Conflict, Lost or WrongDatabase, with words for a person; decisions go on then.
        """
        talk = _Talk(Conversation(self._celery, conversation), self._identity.service, services)
        try:
            self._assert_able()
            talk.step(Step.READY, _READY_FOR)
            with decisions_held(self._engine) as hold:
                talk.step(Step.HELD, _HOLDS_FOR)
                at = str(hold.session.scalar(_SET, {"name": name}))
                talk.step(Step.SET, _HOLDS_FOR)
            flush(self._engine)
        except Exception:
            talk.leave()
            raise
        log.info("restore point %s at %s; decisions were held for %.0f ms", name, at, hold.seconds * 1000)
        return {"at": at, "held": hold.seconds}

    def _assert_able(self) -> None:
        self._identity.database()
        with translated_errors(), self._engine.connect() as connection:
            able = connection.execute(_ABLE).one()
        if able.standby:
            raise Conflict("its server is a standby")
        if able.wal_level == "minimal":
            raise Conflict("its server's wal_level is minimal, so that nothing can be restored to a point")
        if not able.may:
            raise Conflict(
                f"its role may not set restore points; as a superuser in the database {able.database}:"
                f' GRANT EXECUTE ON FUNCTION pg_create_restore_point TO "{able.role}"'
            )


class _Talk:
    """What one of the services says to the others."""

    def __init__(self, conversation: Conversation, own: str, services: Sequence[str]) -> None:
        self._conversation, self._own = conversation, own
        self._others = [service for service in services if service != own]
        self._may_be_set = False

    def step(self, step: Step, within: float) -> None:
        """Say so, and wait until all others have. Raises Conflict where one of them will not."""
        self._conversation.say(self._own, step)
        done = _IN_ORDER[_IN_ORDER.index(step) :]  # whoever is further has done it
        said = self._conversation.wait(self._others, (*done, Step.LEFT), within)
        if left := [service for service, word in said.items() if word == Step.LEFT]:
            raise Conflict(f"let go, because {', '.join(left)} did")
        if late := [service for service, word in said.items() if word not in done]:
            raise Conflict(f"let go, because after {within:g} s {', '.join(late)} did not say: {step}")
        self._may_be_set = step is not Step.READY

    def leave(self) -> None:
        """Let the others go at once. Who may have set the point says nothing more: nothing takes that back."""
        if not self._may_be_set:
            with suppress(Exception):  # why it leaves is to be told
                self._conversation.say(self._own, Step.LEFT)


def may_be_set(celery: Celery, services: Sequence[str], conversation: str) -> bool:
    """Whether some service may have set its point, of a conversation that is over. Raises what the result backend's
    client raises."""
    talk = Conversation(celery, conversation)
    return any(talk.heard(service) in (Step.HELD, Step.SET) for service in services)


_ABLE = text(
    "SELECT pg_is_in_recovery() AS standby, current_setting('wal_level') AS wal_level, current_user AS role,"
    " current_database() AS database,"
    " has_function_privilege(current_user, 'pg_create_restore_point(text)', 'EXECUTE') AS may"
)
_SET = text("SELECT pg_create_restore_point(:name)")
