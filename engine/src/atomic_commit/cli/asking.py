"""One question to every service of the application, through its outcome worker.

A person's command line reaches one database, its own. What concerns all services it asks as a message: a task of the
same verb in each one's outcome queue, whose result is the answer (``AtomicCommit`` registers them). Who has not
answered in time is told by name; whether the question was done there nobody knows then, so ask only what may be done
twice, or not at all.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from celery import Celery
from celery.exceptions import TaskRevokedError
from celery.exceptions import TimeoutError as NoResult
from celery.result import AsyncResult

from atomic_commit.errors import AtomicCommitError
from atomic_commit.names import Installation

#: Seconds that a service has for its answer, all told.
PATIENCE = 10.0
#: Seconds between two looks for an answer, where the result backend does not tell by itself.
_LOOKS = 0.02


@dataclass(frozen=True)
class Reply:
    """What came of the question to one service. ``said``: what its task returned (JSON), if ``trouble`` is None; else
    ``trouble`` is why there is no answer, in words for a person."""

    said: Any = None
    trouble: str | None = None


def services_of(celery: Celery) -> tuple[str, ...]:
    """All services that work together, as this app was told by ``configure``."""
    return tuple(celery.conf.atomic_services)


def ask(
    celery: Celery,
    installation: Installation,
    verb: str,
    arguments: Mapping[str, Any] | None = None,
    *,
    services: Iterable[str] | None = None,
    within: float = PATIENCE,
) -> dict[str, Reply]:
    """Have each service (all, unless `services` names some) run its task `verb` with these keyword arguments, all at
    the same time. Returns service → its reply, in their order, after at most `within` seconds. Never raises.

    A worker that comes to the message later drops it. (By its own clock, which may differ: then it may drop it at once,
    and says so, or do it late.)
    """
    end = time.monotonic() + within
    named = services_of(celery) if services is None else services
    asked: dict[str, AsyncResult | Reply] = {}
    for service in named:
        # Where the broker did not take one message it will not take the next, and to try may take seconds.
        refused = next((reply for reply in asked.values() if isinstance(reply, Reply)), None)
        asked[service] = refused or _sent(celery, installation, service, verb, dict(arguments or {}), within)
    return {
        service: one if isinstance(one, Reply) else _reply(one, max(0.0, end - time.monotonic()), within)
        for service, one in asked.items()
    }


def _sent(
    celery: Celery, installation: Installation, service: str, verb: str, arguments: dict[str, Any], lifetime: float
) -> AsyncResult | Reply:
    question = celery.signature(
        installation.task(service, verb),
        kwargs=arguments,
        queue=installation.outcome_queue(service),
        expires=lifetime,
    )
    try:
        return question.apply_async()
    except Exception as error:  # transports raise their own kinds
        return Reply(trouble=f"could not be asked: {_words(error)}")


def _reply(answer: AsyncResult, left: float, patience: float) -> Reply:
    try:
        said = answer.get(timeout=left, propagate=False, interval=_LOOKS)
    except NoResult:
        return Reply(trouble=f"did not answer within {patience:g} s")
    except Exception as error:  # as for sending
        return Reply(trouble=f"its answer can't be read: {_words(error)}")
    finally:
        _forget(answer)
    if isinstance(said, TaskRevokedError):
        return Reply(
            trouble="dropped the question as expired: it was too busy, or its clock is ahead of this machine's (NTP)"
        )
    if isinstance(said, BaseException):
        return Reply(trouble=_words(said))
    return Reply(said)


def _forget(answer: AsyncResult) -> None:
    """Nobody else reads it. Where that fails it expires, as all results do."""
    with suppress(Exception):
        answer.forget()


def _words(error: BaseException) -> str:
    first = str(error).strip().partition("\n")[0]
    if isinstance(error, AtomicCommitError) and first:
        return first
    return f"{type(error).__name__}: {first}" if first else type(error).__name__
