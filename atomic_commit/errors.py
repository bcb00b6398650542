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


class WrongDatabase(Conflict):
    """This is not the database that is meant: another service's, another installation's, or one that replaced it."""


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
