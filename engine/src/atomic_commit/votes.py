"""Statuses → votes → decision. Pure functions of values: no database, no broker, no clock.

The vote table (``tests/unit/protocol/test_votes.py`` is this table, row by row). A branch votes by the status of its
task's ``AsyncResult``:

========================================  ======  ==========  ===========================================
status of the branch's AsyncResult        vote    cause       what it proves
========================================  ======  ==========  ===========================================
SUCCESS, and the result names its gid     yes                 the branch is prepared in the database that it names;
                                                              without the transactions that it says it has dropped
SUCCESS, without that proof, or from a    silent              nothing: a result that proves nothing is none
database that is not the participant's
FAILURE with Refused                      no      refused     a business rule said no; not that nothing is
                                                              prepared: every no is rolled back everywhere
FAILURE with Conflict                     no      conflict    somebody was in the way; try again
FAILURE with Lost, or the broker away     no      lost        a connection broke; it may be prepared or not
FAILURE with what can't succeed           no      defect      the program, the tables or the values are at
                                                              fault (``errors.is_defect``); final
FAILURE with anything else                no      failed      a fault that may pass; tried again a few times
FAILURE with MembersSaidNo                no      each its    of the transactions that share the attempt, these
                                                  own         said no; for the others it is ``beside``
REVOKED                                   no      revoked     an operator said no; final
PENDING, RECEIVED, STARTED, RETRY, other  silent              nothing: late, lost or never sent
========================================  ======  ==========  ===========================================

The decision table, first row that fits:

====================================  ==========================================================
votes of the attempt                  decision
====================================  ==========================================================
a no, refused, revoked or a defect    ABORT
yes from every branch                 COMMIT (also after the deadline: a yes is a yes)
a no, failed, and attempts used up    ABORT
any other no                          RETRY, or ABORT after the deadline
silence within the patience           WAIT
silence after it                      RETRY, or ABORT after the deadline
====================================  ==========================================================

Of an attempt that is shared, a defect counts as failed: others were beside. It is final when it is met alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from atomic_commit.errors import Conflict, Defect, Lost, MembersSaidNo, Refused, is_defect, is_transport_error
from atomic_commit.names import Gid


class Vote(StrEnum):
    """What one branch says in phase one."""

    YES = "yes"
    NO = "no"
    SILENT = "silent"


class Cause(StrEnum):
    """Why a transaction does not commit (or its attempt did not)."""

    REFUSED = "refused"
    REVOKED = "revoked"
    CONFLICT = "conflict"
    LOST = "lost"
    FAILED = "failed"
    DEFECT = "defect"
    SILENCE = "silence"
    #: nothing is wrong with this transaction; another one of the attempt said no
    BESIDE = "beside"


_CAUSES = frozenset(map(str, Cause))

#: What no new attempt would change.
FINAL = frozenset({Cause.REFUSED, Cause.REVOKED, Cause.DEFECT})

#: Characters of an unexpected error that are kept; the whole of it is in the log.
_LONGEST_WORDS = 2000


#: With these an abort is the answer to its Idempotency-Key; of any other the client is told to try again.
KEEP_THEIR_KEY = frozenset({Cause.REFUSED, Cause.DEFECT})


class Decision(StrEnum):
    """What follows from the votes of one attempt."""

    COMMIT = "commit"
    ABORT = "abort"
    RETRY = "retry"
    WAIT = "wait"


@dataclass(frozen=True)
class Ballot:
    """One branch's vote with what was seen."""

    #: "service.function"
    branch: str
    vote: Vote
    #: Celery's word
    status: str
    #: None for a yes
    cause: Cause | None = None
    #: one word for programs: a refusal's own, or the name of the error; None for a yes
    reason: str | None = None
    #: a sentence; for clients only where the cause is a refusal
    detail: str | None = None
    #: the field of the request that is at fault; None: none in particular
    field: str | None = None
    #: of a yes: the id of the database in which the branch is prepared; else None
    database: str | None = None
    #: the noes of single members of the attempt, where not all of them said the same: (transaction id as text, ballot)
    members: tuple[tuple[str, Ballot], ...] = ()

    def of_member(self, transaction: str) -> Ballot:
        """What this ballot means to one member of the attempt: its own no, or what all the others said."""
        return next((ballot for member, ballot in self.members if member == transaction), self)

    def beside_others(self) -> Ballot:
        """What it means to those who share an attempt: a defect may be anybody's among them, and is to be met again by
        each of them alone before it is final."""
        return replace(
            self,
            cause=Cause.FAILED if self.cause is Cause.DEFECT else self.cause,
            members=tuple((member, ballot.beside_others()) for member, ballot in self.members),
        )

    def as_cause(self) -> dict[str, Any]:
        """What the journal keeps about the branch that prevented the commit. Not all of it is for clients."""
        return {
            "branch": self.branch,
            "cause": str(self.cause or Cause.SILENCE),
            "reason": self.reason,
            "detail": self.detail,
            "field": self.field,
        }


@dataclass(frozen=True)
class Situation:
    """What else the decision depends on."""

    #: attempts that failed with an unexpected error, this one included if it did
    failed_attempts: int
    #: whether silence counts as a no
    patience_over: bool
    #: whether there is no other try
    deadline_over: bool
    #: at so many failed attempts a fault is final
    failed_attempts_limit: int


def ballot_of(gid: Gid, status: str, result: object) -> Ballot:
    """The vote that a task status and its result amount to (see the vote table)."""
    if status == "SUCCESS" and isinstance(result, dict) and (database := _proof(result, gid)):
        noes = _noes(gid.branch, result.get("dropped"), status)
        return Ballot(gid.branch, Vote.YES, status, database=database, members=noes)
    if status == "FAILURE":
        return no_ballot(gid.branch, result, status)
    if status == "REVOKED":
        return Ballot(gid.branch, Vote.NO, status, Cause.REVOKED, "revoked", "The task was revoked.")
    return silent_ballot(gid.branch, status)


def silent_ballot(branch: str, status: str) -> Ballot:
    """What counts as no answer, whatever the status."""
    return Ballot(branch, Vote.SILENT, status, Cause.SILENCE, "silence", "No answer was seen in time.")


def no_ballot(branch: str, error: object, status: str = "FAILURE") -> Ballot:
    """The no that an exception amounts to. `error` may be anything: what came back from a result backend is only as
    good as what was stored there."""
    if isinstance(error, MembersSaidNo):
        noes = _noes(branch, error.noes, status)
        return Ballot(branch, Vote.NO, status, Cause.BESIDE, "beside", str(error), members=noes)
    if isinstance(error, Refused):
        return Ballot(branch, Vote.NO, status, Cause.REFUSED, error.reason, error.detail, error.field)
    if isinstance(error, Conflict):
        return Ballot(branch, Vote.NO, status, Cause.CONFLICT, "conflict", str(error))
    if isinstance(error, Lost) or is_transport_error(error):
        return Ballot(branch, Vote.NO, status, Cause.LOST, "lost", str(error))
    defect = isinstance(error, BaseException) and is_defect(error)
    name = error.name if isinstance(error, Defect) else type(error).__name__
    words = error.words if isinstance(error, Defect) else str(error)
    return Ballot(branch, Vote.NO, status, Cause.DEFECT if defect else Cause.FAILED, name, words[:_LONGEST_WORDS])


def decision_of(ballots: Sequence[Ballot], situation: Situation) -> Decision:
    """What the votes of one attempt amount to (see the decision table)."""
    noes = [ballot for ballot in ballots if ballot.vote is Vote.NO]
    if any(ballot.cause in FINAL for ballot in noes):
        return Decision.ABORT
    if ballots and all(ballot.vote is Vote.YES for ballot in ballots):
        return Decision.COMMIT
    again = Decision.ABORT if situation.deadline_over else Decision.RETRY
    if noes:
        used_up = situation.failed_attempts >= situation.failed_attempts_limit
        return Decision.ABORT if used_up and noes[0].cause is Cause.FAILED else again
    return again if situation.patience_over else Decision.WAIT


def ballots_of_member(ballots: Sequence[Ballot], transaction: str) -> list[Ballot]:
    """What the votes of a shared attempt mean to one of its transactions. The branches behind the one that has dropped
    it did not know it: what they say is not about it."""
    of_member: list[Ballot] = []
    for ballot in ballots:
        of_member.append(ballot.of_member(transaction))
        if ballot.vote is Vote.YES and of_member[-1] is not ballot:
            break
    return of_member


def deciding_ballot(ballots: Sequence[Ballot]) -> Ballot | None:
    """The ballot that an abort is explained by: the first final no, else the first no, else the first silence.

    First in branch order: Celery copies a failing link's exception to the links behind it.
    """
    final = [b for b in ballots if b.cause in FINAL]
    noes = [b for b in ballots if b.vote is Vote.NO]
    silent = [b for b in ballots if b.vote is Vote.SILENT]
    return next(iter(final + noes + silent), None)


def _proof(result: Mapping[str, Any], gid: Gid) -> str | None:
    """A yes needs positive evidence: the gid, which a branch returns only after PREPARE TRANSACTION said so, and with
    it the database that said so."""
    prepared = result.get("prepared")
    database = prepared.get(str(gid)) if isinstance(prepared, dict) else None
    return database if isinstance(database, str) else None


def _noes(branch: str, said: Mapping[str, Mapping[str, Any]] | None, status: str) -> tuple[tuple[str, Ballot], ...]:
    """What members said, each as ``Ballot.as_cause`` has written it down."""
    return tuple((member, _no_from(branch, words, status)) for member, words in (said or {}).items())


def _no_from(branch: str, words: Mapping[str, Any], status: str) -> Ballot:
    said = words.get("cause") or Cause.FAILED
    cause = Cause(said) if said in _CAUSES else Cause.CONFLICT  # of another release: tried again
    branch = words.get("branch") or branch
    return Ballot(branch, Vote.NO, status, cause, words.get("reason"), words.get("detail"), words.get("field"))
