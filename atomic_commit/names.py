"""Names: of a transaction's branches, of their prepared transactions, of queues and of tasks.

A name is made here and nowhere else, so that a person who reads ``pg_prepared_xacts``, Flower, a log line or the
journal meets the same words everywhere.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from uuid import UUID

#: PostgreSQL refuses a longer global identifier (manual page PREPARE TRANSACTION: "less than 200 bytes long").
GID_LIMIT = 199

_BRANCH = re.compile(r"[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*")
_APP = re.compile(r"[a-z][a-z0-9_-]*")


@dataclass(frozen=True)
class Gid:
    """The global identifier of one branch of one attempt: ``<app>:<transaction id>:<attempt>:<branch>``.

    It names the prepared transaction in PostgreSQL and the Celery task that prepares it, so whoever knows the
    transaction can ask for either. It is never used twice: a retry is a new attempt, hence a new identifier, and a
    late outcome message for an old attempt can't touch the new one.
    """

    app: str
    transaction: UUID
    attempt: int
    branch: str

    def __post_init__(self) -> None:
        if not _APP.fullmatch(self.app):
            raise ValueError(f"app {self.app!r}: lower-case letters, digits, '_' and '-' only")
        if not _BRANCH.fullmatch(self.branch):
            raise ValueError(f"branch {self.branch!r} is not of the form 'service.verb'")
        if self.attempt < 1:
            raise ValueError(f"attempt {self.attempt}: attempts count from 1")
        if len(str(self).encode()) > GID_LIMIT:
            raise ValueError(f"{self} is longer than PostgreSQL's {GID_LIMIT} bytes")

    def __str__(self) -> str:
        return f"{self.app}:{self.transaction}:{self.attempt}:{self.branch}"

    @classmethod
    def parse(cls, text: str) -> Gid:
        """The identifier that `text` spells. Raises ValueError for a text that isn't one of ours."""
        try:
            app, transaction, attempt, branch = text.split(":")
            gid = cls(app, UUID(transaction), int(attempt), branch)
        except ValueError as error:
            raise ValueError(f"{text!r} is not <app>:<transaction id>:<attempt>:<branch>") from error
        if str(gid) != text:
            raise ValueError(f"{text!r} is not in canonical form ({gid})")
        return gid


def service_of(branch: str) -> str:
    """The service that runs `branch`: ``orders`` for ``orders.cancel_user_orders``."""
    return branch.partition(".")[0]


def branch_queue(service: str) -> str:
    """Where a service's business work waits. It may block on row locks."""
    return service


def outcome_queue(service: str) -> str:
    """Where a service's decide, commit and rollback wait. It never blocks on business locks, so that branch work which
    fills every slot can't keep out the very messages that would free its locks."""
    return f"{service}.outcome"


def task_name(service: str, verb: str) -> str:
    """The Celery name of a protocol task, for example ``orders.commit``."""
    return f"{service}.{verb}"
