"""The engine of one service: the roles put together, and their verbs registered as Celery tasks."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from celery import Celery
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from atomic_commit.coordinator.coordinator import Coordinator
from atomic_commit.coordinator.known_databases import KnownDatabases
from atomic_commit.coordinator.pause import Pausing
from atomic_commit.coordinator.recover import Sweeper
from atomic_commit.coordinator.restore_point import PointSet, RestorePoints
from atomic_commit.coordinator.wait import DecisionWatch
from atomic_commit.declare import BranchDeclaration, Branches, TransactionKind, Values, check_calls, check_lock_order
from atomic_commit.errors import Conflict, Defect, Fenced, Lost, MembersSaidNo, Refused
from atomic_commit.journal import listing, migrations, records
from atomic_commit.journal.asking import FINDS_OUT, FORGOTTEN
from atomic_commit.journal.local_calls import LocalCalls
from atomic_commit.journal.records import IdempotencyKey, Outcome, State, TransactionRecord
from atomic_commit.limits import Limits
from atomic_commit.names import Installation, service_of
from atomic_commit.participant.in_doubt import in_doubt
from atomic_commit.participant.inquiry import Inquiry
from atomic_commit.participant.prepared import Participant
from atomic_commit.participant.proofs import Proofs
from atomic_commit.participant.redo import RunAgain
from atomic_commit.participant.testimony import Testimony
from atomic_commit.postgres.clocks import OwnClock
from atomic_commit.postgres.confirmed import Confirmation
from atomic_commit.postgres.database import autocommit, create_engine, translated_errors
from atomic_commit.postgres.identity import Identity, claim, is_named
from atomic_commit.postgres.lives import Fork, Lives
from atomic_commit.postgres.readiness import Checks, checks, missing
from atomic_commit.verify.answers import answers
from atomic_commit.verify.background import Background
from atomic_commit.verify.verification import Verification
from atomic_commit.wire.hand_over import (
    Answer,
    Answered,
    HandedOn,
    Testified,
    read_answered,
    read_handed_on,
    read_testified,
)
from atomic_commit.wire.messages import Messages
from atomic_commit.wire.other_releases import (
    read_gid,
    read_id,
    read_moment,
    read_number,
    reading_any_release,
)
from atomic_commit.workers.at_work import run_in_workers
from atomic_commit.workers.settings import configure

#: Seconds that a client of a committed transaction is held so that it reads its own writes in every service.
_READ_YOUR_WRITES = 1.0

#: What a task may raise in the course of things: logged in one line, not as a crash.
_EXPECTED = (Refused, Conflict, Fenced, Lost, MembersSaidNo)

#: Seconds after a fork at which all others are told of it: again, because who was told may have ended before it had
#: compared. Whoever starts within the last of these tells it too.
_TELL_AFTER = (0.0, 60.0, 600.0, 3600.0)

#: Characters of a result in a log line; the whole of it is in the result backend.
_SHORT = 120


class AtomicCommit:
    """What a service holds in its hand: it coordinates `kinds` and takes part with `branches`.

    `celery` is the service's Celery app, made fit by ``configure`` (in tests one eager app may serve several services);
    `engine` its database, from ``create_engine``; `installation` is the same in all services that work together, and in
    nobody else. `coordinators`: the services that may have this one take part in their transactions; they are told when
    it is back after it was away, and a branch for anybody else is a Defect. (None: for everybody, and nobody is told.)
    `calls`: the services that may take part in its own transactions, and `lock_order` the one global order of services
    in which transactions lock rows. Raises ValueError for a kind that does not follow either, for a Celery app that is
    not configured, and for a database driver other than psycopg2.

    Nothing is started here. A worker of `celery` starts by itself what it needs: recovery, a look at its clock.

    Every service needs an outcome worker; one that offers branches needs a worker as well, and one that offers none has
    nothing for it to do (``python -m atomic_commit -A module outcome-worker | worker``).
    """

    def __init__(
        self,
        *,
        service: str,
        installation: Installation,
        engine: Engine,
        celery: Celery,
        kinds: Iterable[TransactionKind] = (),
        branches: Branches | None = None,
        limits: Limits | None = None,
        coordinators: Collection[str] | None = None,
        calls: Collection[str] | None = None,
        lock_order: Sequence[str] | None = None,
    ) -> None:
        kinds = tuple(kinds)
        if calls is not None:
            check_calls(service, kinds, calls)
        if lock_order is not None:
            check_lock_order(kinds, lock_order)
        if engine.driver != "psycopg2":
            raise ValueError(f"the driver is {engine.driver}: make the engine with atomic_commit.create_engine(url)")
        _assert_configured(celery, installation, service)
        limits, branches = limits or Limits.from_environment(), branches or Branches(service)
        self.service, self.installation, self.celery, self.limits = service, installation, celery, limits
        self.engine, self._reads = engine, autocommit(engine)
        self.identity, databases = Identity(engine, installation, service), KnownDatabases(engine)
        self.messages = Messages(celery, installation, service, limits.message_lifetime, databases.of)
        self.participant = Participant(
            engine, self.identity, limits, self.messages.result_of, branches.holds, FINDS_OUT
        )
        self.proofs = Proofs(engine, installation, branches.declared)
        self.run_again = RunAgain(engine, self.identity, limits, branches.declared, FINDS_OUT)
        self.testimony = Testimony(engine, installation)
        self.inquiry = Inquiry(engine, installation, limits, self.messages.inquire)
        self.lives = Lives(engine, limits.ids_per_second, FORGOTTEN)
        #: the last fork that others were told of, and how many of the times were over then
        self._told: tuple[datetime | None, int] = (None, 0)
        self.coordinator = Coordinator(engine, self.messages, kinds, limits, databases)
        self.sweeper = Sweeper(engine, self.coordinator, limits, self._announce)
        self._watch, self._confirmation = DecisionWatch(engine), Confirmation(engine)
        self.local_calls, self.pausing = LocalCalls(engine), Pausing(engine)
        self.restore_points = RestorePoints(engine, self.identity, celery)
        self.clock = OwnClock(engine, limits)
        self._coordinators, self._branches = coordinators, branches
        self._register_participant(celery, branches)
        self._register_coordinator(celery)
        self._register_what_all_are_asked(celery)
        self.verification = Verification(self)
        self.in_background = Background(self.verification)
        for verb, answer in answers(self).items():
            self._register_outcome_task(celery, verb, answer, keeps_result=True)
        run_in_workers(celery, self)

    @classmethod
    def from_environment(
        cls,
        *,
        application: str,
        service: str,
        services: Sequence[str],
        kinds: Iterable[TransactionKind] = (),
        branches: Branches | None = None,
        lock_order: Sequence[str] | None = None,
        pool_size: int = 16,
        environment: Mapping[str, str] | None = None,
    ) -> AtomicCommit:
        """The engine of `service`, with a Celery app of its own (``.celery``), by what the environment (this process's,
        unless another is given) says: ``ATOMIC_INSTALLATION``, ``DATABASE_URL``, ``BROKER_URL``,
        ``RESULT_BACKEND_URL``, and ``Limits``.

        `application` is the same wherever it is installed; `services` are all that work together. `pool_size`:
        connections that a process opens as it needs them, and keeps; a worker needs two more than it has threads.
        Raises ValueError for a variable that is not set or makes no sense, and as the constructor does.
        """
        given = os.environ if environment is None else environment
        database, broker, results = (_required(given, name) for name in _VARIABLES)
        installation, limits = Installation.from_environment(application, given), Limits.from_environment(given)
        celery = configure(
            Celery(service, set_as_current=False),
            installation=installation,
            service=service,
            services=services,
            broker_url=broker,
            result_backend_url=results,
            limits=limits,
        )
        return cls(
            service=service,
            installation=installation,
            engine=create_engine(database, pool_size, limits),
            celery=celery,
            kinds=kinds,
            branches=branches,
            limits=limits,
            coordinators=services,
            lock_order=lock_order,
        )

    # ---- before the service starts

    def migrate(self) -> None:
        """Make or bring up the engine's tables in the service's database, and make the database the service's own. With
        Alembic call ``migrations.upgrade`` in a revision and then ``claim_database``.

        May be called by several processes at once. Raises WrongDatabase where the database is somebody else's: then
        nothing is changed there.
        """
        with self.engine.connect() as connection:
            if is_named(connection):
                claim(connection, self.installation, self.service)
        migrations.migrate(self.engine)
        self.claim_database()

    def claim_database(self) -> None:
        """Make the database the service's own, if it is nobody's yet. Raises WrongDatabase where it is another's."""
        with self.engine.begin() as connection:
            claim(connection, self.installation, self.service)

    # ---- what a service's HTTP face calls

    def begin(self, kind: str, arguments: Values, key: IdempotencyKey | None = None) -> TransactionRecord:
        """Accept a transaction and send it on its way; `kind` is its plain name, without the service.

        See ``Coordinator.begin`` for what it raises; besides, WrongDatabase where this is not the service's own, and
        KeyError for a kind that it was not given.
        """
        self.identity.database()
        return self._to_be_shown(self.coordinator.begin(kind, arguments, key))

    def wait(self, transaction: UUID, seconds: float) -> TransactionRecord:
        """The transaction once it is decided, or as it is after `seconds`.

        A committed one is then given a moment more, until every participant has answered, so that a client who reads
        the other services after a yes finds what was decided. The decision stands whether or not they answer in time.
        Raises Impossible for a transaction that was never accepted here.
        """
        seen = self._watch.wait(transaction, seconds, _READ_YOUR_WRITES)
        return seen or self._to_be_shown(self.coordinator.read(transaction))

    def find(self, transaction: UUID) -> TransactionRecord | None:
        """The transaction, if this service coordinates it."""
        with translated_errors(), Session(self._reads) as session:
            record = records.read(session, transaction)
        return record and self._to_be_shown(record)

    def _to_be_shown(self, record: TransactionRecord) -> TransactionRecord:
        """A decision is shown to nobody before it is known to stay. Raises Lost, which names the transaction."""
        try:
            if record.decided:
                self._confirmation.wait()
        except Lost as error:
            raise Lost(str(error), record.id) from error
        return record

    def checks(self, assert_migrated: Callable[[Engine], None] = migrations.assert_migrated) -> Checks:
        """Name → check, for whoever asks whether the service could do its work; ``postgres.readiness.missing`` asks
        all of them.

        `assert_migrated(engine)` raises RuntimeError where the database is behind; by default the engine's own tables
        are looked at.
        """
        return checks(self.engine, self.identity, self.clock, assert_migrated)

    def not_ready(self, assert_migrated: Callable[[Engine], None] = migrations.assert_migrated) -> dict[str, str]:
        """Name → words, of each of the ``checks`` that says no; empty where the service could do its work."""
        return missing(self.checks(assert_migrated))

    # ---- where a database has come back older than it was

    def came_back_older(self, since: datetime) -> None:
        """Tell all other services that what was committed in this one's database after `since` (by its clock) may be
        forgotten: each compares what it has with it, writes down what is lost, and logs it. To be called by whoever
        has noticed; nothing is raised where the broker does not take it."""
        others = (service for service in self.celery.conf.atomic_services if service != self.service)
        self.messages.came_back_older(others, since)

    # ---- what its workers run

    def watch(self) -> None:
        """What an outcome worker does every few seconds: ask about what stands prepared for too long, and see whether
        the database goes on where it was; where it has come back older, all others compare with it."""
        with translated_errors():
            fork = self.lives.beat()
        if fork:
            self._tell(fork)
        self.inquiry.look()

    def _tell(self, fork: Fork) -> None:
        """Tell all others, as often as it is time to."""
        over = sum(fork.age >= after for after in _TELL_AFTER)
        told_of, told = self._told
        if over < len(_TELL_AFTER) and (fork.at != told_of or over > told):
            self._told = fork.at, over
            self.came_back_older(fork.since)

    def _register_participant(self, celery: Celery, branches: Branches) -> None:
        for branch in branches.declared.values():
            self._register_branch(celery, branch)

        def commit(gid: str, database: str | None, epoch: str | None = None) -> Answered:
            which = read_gid(gid)
            answered = self._answered(self.participant.commit(which, database, epoch))
            if answered["answer"] == Answer.VOID:
                answered["epoch"] = self.testimony.to(which.coordinator, None)
            return answered

        def rollback(gid: str, database: str | None) -> Answered:
            return self._answered(self.participant.rollback(read_gid(gid), database))

        def testify(
            transaction: str, attempt: int, since: str, coordinator: str, life: str | None, database: str | None
        ) -> Testified:
            self.identity.must_be(database)
            epoch = self.testimony.to(coordinator, life)
            found = self.testimony.about(read_id(transaction), read_number(attempt), read_moment(since))
            return {"found": found, "holds": holds, "database": self.identity.database(), "epoch": epoch}

        holds = [branch.name for branch in branches.declared.values() if branch.holds]
        self._register_outcome_task(celery, "commit", commit)
        self._register_outcome_task(celery, "rollback", rollback)
        self._register_outcome_task(celery, "testify", testify)

    def _register_branch(self, celery: Celery, branch: BranchDeclaration) -> None:
        def run(handed_on: HandedOn, gid: str, database: str | None) -> HandedOn:
            which = read_gid(gid)
            self._assert_called_by(which.coordinator)
            return self.participant.prepare(which, branch, read_handed_on(handed_on), database)

        run.__doc__ = branch.function.__doc__
        name = self.installation.branch_task(branch.name)
        body = reading_any_release(run)
        celery.task(body, name=name, throws=_EXPECTED, resultrepr_maxsize=_SHORT, shared=False)

    def _assert_called_by(self, coordinator: str) -> None:
        """Raise Defect for one that may not call this service. Nothing is prepared for it; what stands prepared already
        is committed or rolled back, whoever's it is."""
        if self._coordinators is not None and coordinator not in self._coordinators:
            words = f"{coordinator} may not call {self.service} (it is none of the coordinators of {self.service})"
            raise Defect("MayNotCall", words)

    def _register_coordinator(self, celery: Celery) -> None:
        def decide(handed_on: HandedOn, transaction: str, attempt: int) -> str:
            leader, number, handed_on = read_id(transaction), read_number(attempt), read_handed_on(handed_on)
            with translated_errors():
                if self.coordinator.decide(leader, number, handed_on) is Outcome.COMMIT:
                    return str(State.COMMITTED)
                return str(self.coordinator.read(leader).state)

        def review(transaction: str, attempt: int) -> None:
            leader, number = read_id(transaction), read_number(attempt)
            with translated_errors():
                self.coordinator.decide(leader, number)

        def acknowledge(answered: Answered, gid: str) -> None:
            which, said = read_gid(gid), read_answered(answered)
            branch, answer = (which.transaction, which.attempt, which.branch), Answer(said["answer"])
            with translated_errors():
                if not self.coordinator.databases.accepts(service_of(which.branch), said["database"]):
                    return
                if answer is Answer.VOID:
                    self.coordinator.tell_again(*branch, said.get("epoch"))
                else:
                    self.coordinator.acknowledge(*branch, answer)

        def inquire(gid: str, age: float) -> None:
            with translated_errors():
                self.coordinator.asking.inquired(read_gid(gid), age)

        def hear(
            testified: Testified, transaction: str, attempt: int, kind: str, service: str, life: str | None
        ) -> None:
            about, number, said = read_id(transaction), read_number(attempt), read_testified(testified)
            with translated_errors():
                if self.coordinator.databases.accepts(service, said["database"]):
                    self.coordinator.hear(about, number, kind, service, said, life)

        def awake(service: str) -> None:
            with translated_errors():
                self.coordinator.participant_is_back(service)

        # decide keeps its result: its AsyncResult is the chain's.
        self._register_outcome_task(celery, "decide", decide, keeps_result=True)
        self._register_outcome_task(celery, "review", review)
        self._register_outcome_task(celery, "acknowledge", acknowledge)
        self._register_outcome_task(celery, "awake", awake)
        self._register_outcome_task(celery, "inquire", inquire)
        self._register_outcome_task(celery, "hear", hear)

    def _register_what_all_are_asked(self, celery: Celery) -> None:
        """What a command asks of every service of the application (``cli.application``)."""

        def pause(because: str | None) -> None:
            self.identity.database()
            self.pausing.set(because)

        def resume() -> None:
            self.identity.database()
            self.pausing.clear()

        def standing() -> dict[str, int]:
            """How many are undecided, owed and quarantined here, and how many branches stand prepared."""
            self.identity.database()
            with translated_errors(), Session(self._reads) as session:
                counts, _ = listing.counts_of_unsettled(session)
                found = in_doubt(session.connection(), self.installation)
            return {**counts, "prepared": sum(each.gid is not None for each in found)}

        def restore_point(name: str, services: list[str], conversation: str) -> PointSet:
            return self.restore_points.take_part(name, services, conversation)

        for function in (pause, resume, standing, restore_point):
            self._register_outcome_task(celery, f"application.{function.__name__}", function, keeps_result=True)

    def _announce(self) -> None:
        self.messages.announce(self._coordinators or ())

    def _register_outcome_task(self, celery: Celery, verb: str, function: Any, *, keeps_result: bool = False) -> None:
        """`keeps_result`: somebody waits for it. Raises ValueError for a branch that has this name."""
        if (name := f"{self.service}.{verb}") in self._branches.declared:
            raise ValueError(f"{name} is the protocol's own: give the branch another name")
        celery.task(
            reading_any_release(function),
            name=self.installation.task(self.service, verb),
            ignore_result=not keeps_result,  # mostly the rows are the result
            throws=_EXPECTED,
            resultrepr_maxsize=_SHORT,
            shared=False,  # not in whatever other Celery app this process may have
        )

    def _answered(self, answer: Answer) -> Answered:
        return {"answer": str(answer), "database": self.identity.database()}


#: What ``from_environment`` reads beside the installation and the limits.
_VARIABLES = {
    "DATABASE_URL": "postgresql://user:password@host:5432/database",
    "BROKER_URL": "redis://host:6379/0",
    "RESULT_BACKEND_URL": "redis://host:6379/1",
}


def _required(environment: Mapping[str, str], name: str) -> str:
    if value := environment.get(name):
        return value
    raise ValueError(f"{name} is not set; for example {_VARIABLES[name]}")


def _assert_configured(celery: Celery, installation: Installation, service: str) -> None:
    if celery.conf.task_always_eager:
        return
    queues = {queue.name for queue in celery.conf.task_queues or ()}
    if installation.outcome_queue(service) not in queues:
        raise ValueError(
            f"the Celery app {celery.main!r} has no queues for {service!r} of the installation {installation}:"
            " call atomic_commit.configure(celery, …) first, with the same names"
        )
