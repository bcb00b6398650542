"""What can go wrong, by who has to act on it. One root, four branches."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

#: SQLSTATEs that say "try again later" (PostgreSQL manual, appendix A). Somebody else was first: serialization failure,
#: deadlock, lock_timeout, statement_timeout. Or the server has run out of something, which somebody will free (class
#: 53): its disk, its connections, and 53200 for "maximum number of prepared transactions reached".
_CONFLICTS = ("40001", "40P01", "55P03", "57014", "53")

#: SQLSTATEs that say "the server is going away" (class 57P), "the connection is" (class 08), or "this one only reads"
#: (25006): another server is the primary now, or is going to be.
_LOST = ("57P", "08", "25006")

#: SQLSTATEs of what fails again however often it is tried, while rows, tables and program are what they are:
#: a feature that there is not (0A: PREPARE after NOTIFY), data that don't fit (21, 22, 44), constraints, also deferred
#: ones (23), a trigger or function that raises (27, 2F, 38, 39, P0), statements that don't fit the schema (3D, 3F, 42),
#: and program limits (54). Not here, because it may pass: what the server or its disk suffers from (58, XX), and what a
#: pooler may cause (25, 26, 34).
_DEFECTS = ("0A", "21", "22", "23", "27", "2F", "38", "39", "3D", "3F", "42", "44", "54", "P0")

#: Python's errors that speak of the program and its values, not of the world around it.
_PROGRAM_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    NameError,
    NotImplementedError,
    TypeError,
    ValueError,
)

#: Where the errors of brokers and result backends come from.
_TRANSPORTS = ("kombu", "redis", "amqp")

UNIQUE_VIOLATION = "23505"
LOCK_NOT_AVAILABLE = "55P03"
#: "prepared transaction with identifier … does not exist"
UNDEFINED_OBJECT = "42704"
#: "prepared transaction with identifier … is busy": another session is resolving it
PREPARED_IS_BUSY = "55000"


class AtomicCommitError(Exception):
    """Root of everything that this package raises."""


class Refused(AtomicCommitError):
    """A business rule said no. Final: trying again gives the same answer.

    ``reason`` is a stable word for programs, ``detail`` a sentence for people, ``field`` the offending member of the
    request in dotted form (``lines.0.quantity``), if there is one, and ``transaction`` the id of a transaction that is
    in the way, if there is one. All are plain strings in ``args``, so that the exception passes through Celery's JSON
    result backend and comes back whole.
    """

    def __init__(self, reason: str, detail: str, field: str | None = None, transaction: str | None = None) -> None:
        super().__init__(reason, detail, field, transaction)
        self.reason, self.detail, self.field, self.transaction = reason, detail, field, transaction

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"


class Missing(Refused):
    """The thing that the request names does not exist."""


class Conflict(AtomicCommitError):
    """Somebody or something is in the way (a lock, a soft mark, a full disk). Worth a new attempt later."""


class Paused(Conflict):
    """The service is paused: it accepts no transaction until a person resumes it. ``because``: what they said why."""

    def __init__(self, because: str | None) -> None:
        super().__init__(because)
        self.because = because

    def __str__(self) -> str:
        return f"paused: {self.because}" if self.because else "paused"


class WrongDatabase(Conflict):
    """This is not the database that is meant: another service's, another installation's, or one that replaced it."""


class Defect(AtomicCommitError):
    """The work can't succeed, however often it is tried: the program, the tables or the values are at fault. A person
    has to look.

    ``name`` is the kind of error, ``words`` what it said. Both are plain strings in ``args``, so that they pass through
    Celery's JSON result backend, which a database's error does not.
    """

    def __init__(self, name: str, words: str) -> None:
        super().__init__(name, words)
        self.name, self.words = name, words

    def __str__(self) -> str:
        return f"{self.name}: {self.words}"


class Fenced(AtomicCommitError):
    """The branch is already over in this database (rolled back and fenced, or committed): it may not run again."""


class MembersSaidNo(AtomicCommitError):
    """Some of the transactions that share a branch said no, and what the others did is prepared elsewhere already, so
    the whole attempt is given up. ``noes``: for each of them (its id as text) the members of its ballot.

    Plain JSON in ``args``, so that it passes through Celery's result backend.
    """

    def __init__(self, noes: dict[str, dict[str, str | None]]) -> None:
        super().__init__(noes)
        self.noes = noes

    def __str__(self) -> str:
        return f"{len(self.noes)} of the attempt's transactions said no"


class Lost(AtomicCommitError):
    """Nobody knows whether it happened (the connection went away in the middle). Only rows can tell; recovery asks.

    ``transaction`` is the id of the transaction whose begin it was, where that is what nobody knows.
    """

    def __init__(self, detail: str, transaction: UUID | None = None) -> None:
        super().__init__(detail)
        self.transaction = transaction


class NoAnswer(AtomicCommitError):
    """Another service has not answered a question, for the reason that the words say. Whether what was asked for is
    done there nobody knows."""


class KeyTaken(Lost):
    """An earlier request with the same Idempotency-Key was accepted, and what became of it can't be read now."""


class KeyReused(AtomicCommitError):
    """The Idempotency-Key was used before, with another request."""


class Impossible(AtomicCommitError):
    """Something that the protocol excludes was seen. Never retried, never hidden: quarantined and logged loudly."""


def sqlstate(error: BaseException) -> str | None:
    """The SQLSTATE behind a database error, judged by code and never by message text; None where there is none
    (for example a connection that was lost on the client's side)."""
    origin = error.orig if isinstance(error, DBAPIError) else error
    return getattr(origin, "pgcode", None)


def is_conflict(error: BaseException) -> bool:
    """Whether `error` says that waiting and trying again may help."""
    return isinstance(error, Conflict | PoolTimeout) or (sqlstate(error) or "").startswith(_CONFLICTS)


def is_defect(error: BaseException) -> bool:
    """Whether `error` says that waiting and trying again can't help."""
    if isinstance(error, DBAPIError):
        return (sqlstate(error) or "").startswith(_DEFECTS)
    return isinstance(error, (Defect, *_PROGRAM_ERRORS)) and not is_transport_error(error)


def is_transport_error(error: object) -> bool:
    """Whether `error` comes from the way to the broker or result backend, whichever transport it is."""
    return isinstance(error, OSError) or type(error).__module__.startswith(_TRANSPORTS)


def is_lost(error: BaseException) -> bool:
    """Whether `error` says that the connection is gone, so that nobody knows what the statement did."""
    if not isinstance(error, DBAPIError):
        return isinstance(error, Lost)
    state = sqlstate(error)
    if state is None:
        return error.connection_invalidated or isinstance(error, OperationalError | InterfaceError)
    return state.startswith(_LOST)
