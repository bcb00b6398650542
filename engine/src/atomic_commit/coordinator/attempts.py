"""Attempts: who goes at once, who waits, and who goes together.

An attempt is one chain, one prepared transaction in each service and one decision. It costs the same messages and the
same flushes for one transaction and for many, so that transactions share it where there is something to share: one that
comes to an idle service goes at once and by itself; what comes while others are under way waits, and goes together when
one of them is decided (group commit: Gray & Reuter, "Transaction Processing", 1993, section 9.4.7; DeWitt et al.,
"Implementation techniques for main memory database systems", SIGMOD 1984). Nobody waits for company.

That only so many attempts of a kind are under way also keeps a service upright when more comes than it can do: without
a bound, the requests would wait for each other's locks until all of them time out, and try again together.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from atomic_commit import journal
from atomic_commit.declare import TransactionKind
from atomic_commit.journal import records
from atomic_commit.journal.records import Attempt, TransactionRecord
from atomic_commit.limits import Limits
from atomic_commit.postgres.database import autocommit, translated_errors
from atomic_commit.testing.failpoints import reach
from atomic_commit.wire.messages import Messages

log = logging.getLogger(__name__)


class Attempts:
    """The attempts at the transactions that one service coordinates."""

    def __init__(self, engine: Engine, messages: Messages, limits: Limits) -> None:
        self._engine, self._messages, self._limits = engine, messages, limits
        self._reads = autocommit(engine)

    def next(self, kind: TransactionKind) -> Attempt | None:
        """Make an attempt of those that have waited longest, in one local transaction; it is to be sent. None if nobody
        waits, or enough attempts are under way.

        One that was tried before and comes after its deadline gets an attempt of its own, without branches: it is to be
        aborted.
        """
        limits = self._limits
        with Session(self._reads) as session:
            if not journal.somebody_may_go(session, kind.name, limits.attempts_at_once):
                return None
        with Session(self._engine) as session, session.begin():
            reach("attempt.before_claim", session)
            members = journal.claim_waiting(session, kind.name, limits.attempts_at_once, limits.attempt_size)
            if not members:
                return None
            late = next((member for member in members if member.late), None)
            attempt = self._start(session, [late] if late else members, kind)
            reach("attempt.before_commit", session)
        reach("attempt.after_commit")
        return attempt

    def send(self, attempt: Attempt) -> bool:
        """Publish an attempt whose rows say that it is dispatched. Never raises: what is accepted stays accepted, and
        recovery finds what was not sent. Returns whether the broker took it."""
        if self._messages.send_attempt(attempt):
            return True
        try:
            with translated_errors(), Session(self._engine) as session, session.begin():
                journal.mark_unpublished(session, attempt.leader, attempt.number, self._limits.look_after)
        except Exception as error:  # a pool that is used up, for example; the silence is noticed all the same
            log.warning("%s: not sent, and that could not be noted: %s: %s", attempt, type(error).__name__, error)
        return False

    def send_again(self, attempt: Attempt) -> bool:
        """Publish an attempt that the broker did not take: with the same members, because it may have taken it after
        all. Returns whether it takes it now."""
        with Session(self._engine) as session, session.begin():
            claimed = journal.mark_dispatched(
                session,
                attempt.leader,
                attempt.number,
                patience=self._patience(attempt.members),
                look_after=self._limits.look_after,
            )
        return self.send(attempt) if claimed else True

    def restart_clocks(self, attempt: Attempt) -> None:
        """Nobody was there to listen: the silence so far is not held against the attempt."""
        with Session(self._engine) as session, session.begin():
            journal.restart_clocks(session, attempt.leader, attempt.number, self._patience(attempt.members))

    def clock_was_moved_back(self, attempt: Attempt) -> bool:
        """Whether the attempt's patience ends later than if it began only now. (Twice as late, so that another
        process's configuration does not count.)"""
        return attempt.patience_left > 2 * self._patience(attempt.members)

    def _start(self, session: Session, members: Sequence[TransactionRecord], kind: TransactionKind) -> Attempt:
        patience = self._patience(members)
        leader, number = journal.start_attempt(
            session, members, patience=patience, look_after=self._limits.look_after, time_left=4 * patience
        )
        if not members[0].late:
            task_ids = self._messages.task_ids(kind, leader, number)
            journal.insert_branches(session, leader, number, task_ids)
        attempt = records.read_attempt(session, leader, number)
        assert attempt is not None, "it was made a moment ago, and nobody else sees it yet"
        return attempt

    def _patience(self, members: Sequence[TransactionRecord]) -> float:
        return self._limits.patience_after(max(member.silent_attempts for member in members))
