"""Names: of an installation, of a transaction's branches, of their prepared transactions, of queues and of tasks.

A name is made here and nowhere else, so that a person who reads ``pg_prepared_xacts``, Flower, a log line or the
journal meets the same words everywhere. Whatever is shared with strangers (a broker, a result backend, a database
server) carries the installation, so that two of them can share it and never meet.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

#: PostgreSQL refuses a longer global identifier (manual page PREPARE TRANSACTION: "less than 200 bytes long").
GID_LIMIT = 199
#: The variable that names the installation.
INSTALLATION_VARIABLE = "ATOMIC_INSTALLATION"
#: Characters of an application's and of an installation's name.
NAME_LIMIT = 32

_QUALIFIED = re.compile(r"[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*")
_NAME = re.compile(rf"[a-z][a-z0-9_-]{{0,{NAME_LIMIT - 1}}}")


@dataclass(frozen=True)
class Installation:
    """One application as it is installed once: the services that work together, and nobody else.

    ``application``: the same wherever it is installed. ``name``: which of its installations this is. Written as
    ``shop.main``, which is how the names of its queues, tasks and prepared transactions begin.
    """

    application: str
    name: str

    def __post_init__(self) -> None:
        for what, name in (("application", self.application), ("installation", self.name)):
            if not _NAME.fullmatch(name):
                raise ValueError(
                    f"{what} {name!r}: a lower-case letter, then lower-case letters, digits, '_' and '-';"
                    f" at most {NAME_LIMIT} characters"
                )

    @classmethod
    def from_environment(cls, application: str, environment: Mapping[str, str] | None = None) -> Installation:
        """The installation of `application` that ``ATOMIC_INSTALLATION`` names in the environment (this process's,
        unless another is given). Raises ValueError where it is not set, or is no such name.

        There is no default: two installations that share a broker by mistake would then share their names as well.
        """
        name = (os.environ if environment is None else environment).get(INSTALLATION_VARIABLE)
        if not name:
            raise ValueError(
                f"{INSTALLATION_VARIABLE} is not set: give this installation of the {application} a name that no other"
                " one on the same broker or database server has, the same for all its processes; for example"
                f" {INSTALLATION_VARIABLE}=main"
            )
        try:
            return cls(application, name)
        except ValueError as error:
            raise ValueError(f"{INSTALLATION_VARIABLE}: {error}") from None

    @classmethod
    def parse(cls, text: str) -> Installation:
        """The installation that `text` spells. Raises ValueError for a text that isn't one."""
        application, _, name = text.partition(".")
        return cls(application, name)

    def __str__(self) -> str:
        return f"{self.application}.{self.name}"

    def branch_queue(self, service: str) -> str:
        """Where a service's business work waits. It may block on row locks."""
        return f"{self}.{service}"

    def outcome_queue(self, service: str) -> str:
        """Where a service's decide, commit and rollback wait. It never blocks on business locks, so that branch work
        which fills every slot can't keep out the very messages that would free its locks."""
        return f"{self}.{service}.outcome"

    def task(self, service: str, verb: str) -> str:
        """The Celery name of a protocol task, for example ``shop.main.orders.commit``."""
        return f"{self}.{service}.{verb}"

    def branch_task(self, branch: str) -> str:
        """The Celery name of the task that runs a branch, for example ``shop.main.products.restock``."""
        return f"{self}.{branch}"


@dataclass(frozen=True)
class Gid:
    """The global identifier of one branch of one attempt::

        shop.main : users.remove_user : 0b9f…-…c1 : 1         : products.restock     (without the blanks)
        who         what, and who       which       which       which of
        shares it   coordinates it      transaction attempt     its branches

    It names the prepared transaction in PostgreSQL and the Celery task that prepares it, so whoever knows the
    transaction can ask for either, and whoever finds the branch knows whom to ask: the service in ``kind`` coordinates
    it, and the kind says which other branches there are. It is never used twice: a retry is a new attempt, hence a new
    identifier, and a late outcome message for an old attempt can't touch the new one.
    """

    installation: Installation
    #: "service.kind"
    kind: str
    transaction: UUID
    #: from 1
    attempt: int
    #: "service.function"
    branch: str

    def __post_init__(self) -> None:
        if not _QUALIFIED.fullmatch(self.kind):
            raise ValueError(f"kind {self.kind!r} is not of the form 'service.kind'")
        if not _QUALIFIED.fullmatch(self.branch):
            raise ValueError(f"branch {self.branch!r} is not of the form 'service.verb'")
        if self.attempt < 1:
            raise ValueError(f"attempt {self.attempt}: attempts count from 1")
        if len(str(self).encode()) > GID_LIMIT:
            raise ValueError(f"{self} is longer than PostgreSQL's {GID_LIMIT} bytes")

    def __str__(self) -> str:
        return f"{self.installation}:{self.kind}:{self.transaction}:{self.attempt}:{self.branch}"

    @property
    def coordinator(self) -> str:
        """The service that decides about it."""
        return service_of(self.kind)

    @classmethod
    def parse(cls, text: str) -> Gid:
        """The identifier that `text` spells. Raises ValueError for a text that isn't one of ours."""
        try:
            installation, kind, transaction, attempt, branch = text.split(":")
            gid = cls(Installation.parse(installation), kind, UUID(transaction), int(attempt), branch)
        except ValueError as error:
            raise ValueError(
                f"{text!r} is not <application>.<installation>:<service>.<kind>:<transaction id>:<attempt>:<branch>"
            ) from error
        if str(gid) != text:
            raise ValueError(f"{text!r} is not in canonical form ({gid})")
        return gid


def service_of(name: str) -> str:
    """The service in a qualified name: ``orders`` for the branch ``orders.cancel_user_orders``, ``users`` for the kind
    ``users.remove_user``."""
    return name.partition(".")[0]
