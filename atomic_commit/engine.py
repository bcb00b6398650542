"""The engine of one service: the roles put together, and their verbs registered as Celery tasks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from celery import Celery
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from atomic_commit import records
from atomic_commit.coordinator import Coordinator
from atomic_commit.database import autocommit, told_apart
from atomic_commit.declare import BranchDeclaration, Branches, TransactionKind, Values
from atomic_commit.errors import Conflict, Fenced, Lost, MembersSaidNo, Refused
from atomic_commit.limits import Limits
from atomic_commit.messages import Messages
from atomic_commit.names import Gid, task_name
from atomic_commit.participant import Answer, HandedOn, Participant
from atomic_commit.records import IdempotencyKey, Outcome, State, TransactionRecord
from atomic_commit.recovery import Sweeper
from atomic_commit.watch import DecisionWatch

#: Seconds that a client of a committed transaction is held so that it reads its own writes in every service.
_READ_YOUR_WRITES = 1.0

#: What a task may raise in the course of things: logged in one line, not as a crash.
_EXPECTED = (Refused, Conflict, Fenced, Lost, MembersSaidNo)

#: Characters of a result in a log line; the whole of it is in the result backend.
_SHORT = 120


class AtomicCommit:
    """What a service holds in its hand: it coordinates `kinds` and takes part with `branches`.

    `celery` is the service's Celery app (in tests one app may serve several services); `engine` its database;
    `app_name` the first word of every gid, the same in all services of the application.
    """

    def __init__(
        self,
        *,
        service: str,
        app_name: str,
        engine: Engine,
        celery: Celery,
        kinds: Iterable[TransactionKind] = (),
        branches: Branches | None = None,
        limits: Limits | None = None,
    ) -> None:
        limits = limits or Limits.from_environment()
        self.service, self._app_name, self._reads = service, app_name, autocommit(engine)
        self.messages = Messages(celery, app_name, service, limits.message_lifetime)
        self.participant = Participant(engine, limits, self.messages.result_of)
        self.coordinator = Coordinator(engine, self.messages, kinds, limits)
        self.sweeper = Sweeper(engine, self.coordinator, limits)
        self._watch = DecisionWatch(engine)
        self._register_participant(celery, branches or Branches(service))
        self._register_coordinator(celery)

    # ---- what a service's HTTP face calls

    def begin(self, kind: str, arguments: Values, key: IdempotencyKey | None = None) -> TransactionRecord:
        """Accept a transaction and send it on its way. See ``Coordinator.begin`` for what it raises."""
        return self.coordinator.begin(kind, arguments, key)

    def wait(self, transaction: UUID, seconds: float) -> TransactionRecord:
        """The transaction once it is decided, or as it is after `seconds`.

        A committed one is then given a moment more, until every participant has answered, so that a client who reads
        the other services after a yes finds what was decided. The decision stands whether or not they answer in time.
        """
        seen = self._watch.wait(transaction, seconds, _READ_YOUR_WRITES)
        return seen or self.coordinator.read(transaction)

    def find(self, transaction: UUID) -> TransactionRecord | None:
        """The transaction, if this service coordinates it."""
        with told_apart(), Session(self._reads) as session:
            return records.read(session, transaction)

    # ---- what its workers run

    def _register_participant(self, celery: Celery, branches: Branches) -> None:
        for branch in branches.declared.values():
            self._register_branch(celery, branch)

        def commit(transaction: str, attempt: int, branch: str) -> str:
            return str(self.participant.commit(self._gid(transaction, attempt, branch)))

        def rollback(transaction: str, attempt: int, branch: str) -> str:
            return str(self.participant.rollback(self._gid(transaction, attempt, branch)))

        self._register_outcome_task(celery, "commit", commit)
        self._register_outcome_task(celery, "rollback", rollback)

    def _register_branch(self, celery: Celery, branch: BranchDeclaration) -> None:
        def run(handed_on: HandedOn, transaction: str, attempt: int) -> HandedOn:
            return self.participant.prepare(self._gid(transaction, attempt, branch.name), branch, handed_on)

        run.__doc__ = branch.function.__doc__
        celery.task(run, name=branch.name, throws=_EXPECTED, resultrepr_maxsize=_SHORT, shared=False)

    def _register_coordinator(self, celery: Celery) -> None:
        def decide(handed_on: HandedOn, transaction: str, attempt: int) -> str:
            with told_apart():
                if self.coordinator.decide(UUID(transaction), attempt, handed_on) is Outcome.COMMIT:
                    return str(State.COMMITTED)
                return str(self.coordinator.read(UUID(transaction)).state)

        def review(transaction: str, attempt: int) -> None:
            with told_apart():
                self.coordinator.decide(UUID(transaction), attempt)

        def acknowledge(answer: str, transaction: str, attempt: int, branch: str) -> None:
            with told_apart():
                self.coordinator.acknowledge(UUID(transaction), attempt, branch, Answer(answer))

        # decide keeps its result: its AsyncResult is the chain's.
        celery.task(
            decide,
            name=task_name(self.service, "decide"),
            throws=_EXPECTED,
            resultrepr_maxsize=_SHORT,
            shared=False,  # not in whatever other Celery app this process may have
        )
        self._register_outcome_task(celery, "review", review)
        self._register_outcome_task(celery, "acknowledge", acknowledge)

    def _register_outcome_task(self, celery: Celery, verb: str, function: Any) -> None:
        celery.task(
            function,
            name=task_name(self.service, verb),
            ignore_result=True,  # the rows are the result
            throws=_EXPECTED,
            resultrepr_maxsize=_SHORT,
            shared=False,  # not in whatever other Celery app this process may have
        )

    def _gid(self, transaction: str, attempt: int, branch: str) -> Gid:
        return Gid(self._app_name, UUID(transaction), attempt, branch)
