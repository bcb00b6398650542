"""The messages of the protocol, as Celery signatures, and how they are sent.

Messages are hints: each may be lost, doubled, late or out of order, and the rows tell recovery what to send again. So
sending never raises; it says whether the broker took the message.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast
from uuid import UUID

from celery import Celery, chain
from celery.canvas import Signature
from celery.exceptions import TaskRevokedError
from celery.result import AsyncResult
from celery.states import READY_STATES

from atomic_commit.declare import TransactionKind
from atomic_commit.errors import AtomicCommitError, NoAnswer
from atomic_commit.journal.records import Attempt, BranchRecord, Outcome
from atomic_commit.names import Gid, Installation, service_of
from atomic_commit.testing.failpoints import reach
from atomic_commit.votes import Ballot, Vote, ballot_of
from atomic_commit.wire.circuit_breaker import CircuitBreaker
from atomic_commit.wire.hand_over import HandedOn
from atomic_commit.wire.unsubscribed import unsubscribed

log = logging.getLogger(__name__)

#: Seconds between two looks for an answer that is waited for: at first, and at most.
_FIRST_LOOK, _LOOKS = 0.01, 0.1


@dataclass(frozen=True)
class Question:
    """What a coordinator asks participants: what they know of a transaction of this kind (its plain name), of all
    attempts at it where ``attempt`` is 0, else of that one. Nothing of it is older than ``since``. ``life``: of the
    database of who asks, if it has ever come back older; what its lives before have sent is void then."""

    transaction: UUID
    attempt: int
    kind: str
    since: datetime
    life: str | None


class Messages:
    """What one service sends, as the coordinator `service` of its installation."""

    def __init__(
        self,
        celery: Celery,
        installation: Installation,
        service: str,
        lifetime: float,
        database_of: Callable[[str], str | None],
    ) -> None:
        """`lifetime`: seconds after which a message is dropped rather than acted on; ``retention`` says why.
        `database_of(service)`: the database that a participant's messages are meant for, or None; never raises."""
        self._celery, self._installation, self.service = celery, installation, service
        self._database_of = database_of
        self._lifetime = timedelta(seconds=lifetime)
        #: service → the epoch in which a commit counts there, as far as this process was told
        self._epochs: dict[str, str | None] = {}
        #: How a message leaves; ``testing`` puts itself in between.
        self.carry: Callable[[Signature], object] = _publish
        self._broker, self._backend = CircuitBreaker("the broker"), CircuitBreaker("the result backend")

    def learn_epoch(self, service: str, epoch: str | None) -> None:
        """A participant has told in which epoch a commit counts there."""
        self._epochs[service] = epoch

    def gid(self, branch: BranchRecord) -> Gid:
        """The identifier of one branch of an attempt."""
        return Gid.parse(branch.task_id)

    def task_ids(self, kind: TransactionKind, leader: UUID, number: int) -> dict[str, str]:
        """Branch name → task id (the gid's text) for one attempt, in the order of the kind's branches."""
        return {name: self._id(kind.name, leader, number, name) for name in kind.branches}

    def send_attempt(self, attempt: Attempt) -> bool:
        """Publish the attempt's chain: each branch in its service's queue, then decide in ours.

        Every link also carries ``review`` as its error callback, so that a no is acted on at once and not when recovery
        looks. Returns whether the broker took it.
        """
        members = {str(member.id): member.values for member in attempt.members}
        handed_on: HandedOn = {"prepared": {}, "members": members, "dropped": {}}
        which = {"transaction": str(attempt.leader), "attempt": attempt.number}
        review = self._own("review", which, task_id=self._own_id(attempt, "review"), immutable=True)
        links = [self._branch(branch, attempt.read_at, review) for branch in attempt.branches]
        links[0].args = (handed_on,)
        decide = self._own("decide", which, task_id=self._own_id(attempt, "decide"))
        reach("publish.before_attempt")
        sent = self._send(chain(*links, decide))
        reach("publish.after_attempt")
        return sent

    def send_outcomes(self, branches: Iterable[BranchRecord], read_at: datetime) -> bool:
        """Publish commit or rollback to the participants of these branches, as read at that time. Stops at the first
        failure. Returns whether the broker took them all."""
        return all(self._send_outcome(branch, read_at) for branch in branches)

    def announce(self, coordinators: Iterable[str]) -> None:
        """Tell those services that this one can answer what it owes, as far as the broker takes it."""
        for coordinator in coordinators:
            self._send(
                self._celery.signature(
                    self._installation.task(coordinator, "awake"),
                    kwargs={"service": self.service},
                    queue=self._installation.outcome_queue(coordinator),
                    expires=self._lifetime.total_seconds(),
                )
            )

    def inquire(self, gid: Gid, age: float) -> bool:
        """Ask the branch's coordinator what became of it: it stands prepared here for `age` seconds."""
        return self._send(
            self._celery.signature(
                self._installation.task(gid.coordinator, "inquire"),
                kwargs={"gid": str(gid), "age": age},
                queue=self._installation.outcome_queue(gid.coordinator),
                expires=self._lifetime.total_seconds(),
            )
        )

    def ask(self, services: Iterable[str], question: Question) -> bool:
        """Ask these participants what they know of a transaction; they answer to ``hear``. Stops at the first failure.
        Returns whether the broker took them all."""
        return all(self._send(self._question(service, question)) for service in services)

    def _question(self, service: str, question: Question) -> Signature:
        which = {"transaction": str(question.transaction), "attempt": question.attempt}
        asker = {"life": question.life, "kind": question.kind}
        hear = self._own("hear", {**which, **asker, "service": service})
        return self._celery.signature(
            self._installation.task(service, "testify"),
            kwargs={
                **which,
                "since": question.since.isoformat(),
                "coordinator": self.service,
                "life": question.life,
                "database": self._database_of(service),
            },
            queue=self._installation.outcome_queue(service),
            expires=self._lifetime.total_seconds(),
            link=[hear],
        )

    def came_back_older(self, services: Iterable[str], since: datetime) -> None:
        """Tell those services that what was committed in this one's database after `since` may be forgotten."""
        for service in services:
            self._send(
                self._celery.signature(
                    self._installation.task(service, "came_back_older"),
                    kwargs={"service": self.service, "since": since.isoformat()},
                    queue=self._installation.outcome_queue(service),
                    expires=self._lifetime.total_seconds(),
                )
            )

    def call(self, service: str, verb: str, arguments: Mapping[str, Any], *, queue: str, within: float) -> Any:
        """Have a worker of a service, one that reads this queue, run its task `verb`, and wait for what it returns.

        Raises what the task raised, if that is an AtomicCommitError, else NoAnswer. It is asked for again and again
        instead of subscribed to: in a worker no thread may do that while another one publishes (``unsubscribed``).
        """
        name = self._installation.task(service, verb)
        task_id = f"{name}:{secrets.token_hex(8)}"
        question = self._celery.signature(
            name,
            kwargs={**arguments, "database": self._database_of(service)},
            task_id=task_id,
            queue=queue,
            expires=within,
        )
        if not self._send(question):
            raise NoAnswer("could not be asked: the broker did not take the question")
        try:
            return _said(self._result(task_id, within))
        finally:
            with suppress(Exception):  # nobody else reads it; else it expires, as all results do
                AsyncResult(task_id, app=self._celery).forget()

    def _result(self, task_id: str, within: float) -> object:
        """The result of a task once it is ready. Raises NoAnswer where it is not within so many seconds."""
        end, pause, trouble = time.monotonic() + within, _FIRST_LOOK, f"did not answer within {within:g} s"
        while True:
            try:
                status, result = self._seen(task_id)
                if status in READY_STATES:
                    return result
            except Exception as error:  # the backend's own exceptions differ from transport to transport
                trouble = f"its answer can't be read: {type(error).__name__}: {error}"
            if (left := end - time.monotonic()) <= 0:
                raise NoAnswer(trouble)
            time.sleep(min(pause, left))
            pause = min(2 * pause, _LOOKS)

    def _send_outcome(self, branch: BranchRecord, read_at: datetime) -> bool:
        reach("publish.before_outcome")
        sent = self._send(self._outcome(branch, read_at))
        reach("publish.after_outcome")
        return sent

    def ballots(self, attempt: Attempt, handed_on: HandedOn | None = None) -> list[Ballot]:
        """The votes of an attempt: by what the chain has handed on to decide, if it has, and where that lacks the proof
        by its tasks' AsyncResults. A backend that can't be reached is silence."""
        return [self._ballot_handed_on(branch, handed_on) or self._ballot(branch) for branch in attempt.branches]

    def _ballot_handed_on(self, branch: BranchRecord, handed_on: HandedOn | None) -> Ballot | None:
        ballot = ballot_of(self.gid(branch), "SUCCESS", handed_on)
        return ballot if ballot.vote is Vote.YES else None

    def result_of(self, gid: Gid) -> HandedOn | None:
        """What the branch's task stored as its result, if it is a proof that the branch is prepared."""
        try:
            status, result = self._seen(str(gid))
        except Exception as error:  # the backend's own exceptions differ from transport to transport
            log.warning("result of %s can't be read: %s", gid, error)
            return None
        proven = ballot_of(gid, status, result).vote is Vote.YES
        return cast(HandedOn, result) if proven else None

    def status_of(self, task_id: str) -> str | None:
        """The status of a task's AsyncResult, or None where the result backend can't be reached."""
        try:
            return self._seen(task_id)[0]
        except Exception as error:
            log.warning("status of %s can't be read: %s", task_id, error)
            return None

    def _seen(self, task_id: str) -> tuple[str, object]:
        """Status and, once it is ready, result of a task's AsyncResult."""
        with self._backend.asked():
            found = AsyncResult(task_id, app=self._celery)
            status = str(found.status)
            # the result of a task that is ready is cached by now; of any other it would be asked for again
            return status, found.result if status in READY_STATES else None

    def _ballot(self, branch: BranchRecord) -> Ballot:
        gid = self.gid(branch)
        try:
            return ballot_of(gid, *self._seen(str(gid)))
        except Exception as error:
            log.warning("vote of %s can't be read: %s", gid, error)
            return ballot_of(gid, "UNKNOWN", None)

    def _own_id(self, attempt: Attempt, verb: str) -> str:
        return self._id(attempt.kind, attempt.leader, attempt.number, f"{self.service}.{verb}")

    def _id(self, kind: str, leader: UUID, number: int, name: str) -> str:
        return str(Gid(self._installation, f"{self.service}.{kind}", leader, number, name))

    def _branch(self, branch: BranchRecord, read_at: datetime, review: Signature) -> Signature:
        participant = service_of(branch.name)
        return self._celery.signature(
            self._installation.branch_task(branch.name),
            kwargs={"gid": branch.task_id, "database": self._database_of(participant)},
            task_id=branch.task_id,
            queue=self._installation.branch_queue(participant),
            expires=self._end(read_at),
            link_error=[review.clone()],
        )

    def _outcome(self, branch: BranchRecord, read_at: datetime) -> Signature:
        participant, gid = service_of(branch.name), branch.task_id
        verb = "commit" if branch.outcome is Outcome.COMMIT else "rollback"
        # A repetition is a task of its own: whatever is done to one, such as a revocation, is not done to the next.
        one = secrets.token_hex(4)
        # (A release that knows of no epochs has never met one.)
        epoch = self._epochs.get(participant) if branch.outcome is Outcome.COMMIT else None
        named = {"epoch": epoch} if epoch else {}
        return self._celery.signature(
            self._installation.task(participant, verb),
            kwargs={"gid": gid, "database": self._database_of(participant), **named},
            task_id=f"{gid}:{verb}:{one}",
            queue=self._installation.outcome_queue(participant),
            expires=self._end(read_at),
            link=[self._own("acknowledge", {"gid": gid}, task_id=f"{gid}:acknowledge:{one}")],
        )

    def _end(self, read_at: datetime) -> str:
        """When the message is too old, as Celery writes it. By when the rows were read and not by when it is sent: a
        sender that was stopped in between sends what is too old already, and later links of a chain get no new time."""
        return (read_at + self._lifetime).isoformat()

    def _own(self, verb: str, kwargs: dict[str, Any], **options: Any) -> Signature:
        immutable = bool(options.pop("immutable", False))
        return self._celery.signature(
            self._installation.task(self.service, verb),
            kwargs=kwargs,
            queue=self._installation.outcome_queue(self.service),
            immutable=immutable,
            **options,
        )

    def _send(self, signature: Signature) -> bool:
        """Publish, and say whether the broker took it."""
        try:
            with self._broker.asked(), unsubscribed():
                self.carry(signature)
        except Exception as error:  # transports raise their own kinds; any of them means "not sent, as far as we know"
            log.warning("%s not sent: %s: %s", signature.get("task"), type(error).__name__, error)
            return False
        return True


def _said(result: object) -> object:
    """What a task has returned; what it has raised is raised."""
    if isinstance(result, AtomicCommitError):
        raise result
    if isinstance(result, TaskRevokedError):
        raise NoAnswer(
            "dropped the question as expired: it was too busy, or its clock is ahead of this machine's (NTP)"
        )
    if isinstance(result, BaseException):
        raise NoAnswer(f"{type(result).__name__}: {str(result).partition(chr(10))[0]}")
    return result


def _publish(signature: Signature) -> None:
    signature.apply_async()
