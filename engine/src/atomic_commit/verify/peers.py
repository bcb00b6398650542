"""The other services, as far as they answer."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import groupby, islice
from typing import TYPE_CHECKING, TypeVar

from atomic_commit.errors import AtomicCommitError, NoAnswer
from atomic_commit.wire.comparing import Key, Lacks, read_lacks, write_keys

if TYPE_CHECKING:
    from atomic_commit.engine import AtomicCommit

log = logging.getLogger(__name__)

#: What is said of a service that has answered whatever it was asked.
ANSWERED = "answered"

#: Seconds for one answer, and how often it is asked for: a message may be lost.
WITHIN, _TRIES = 10.0, 2
#: Branches in one question.
_BATCH = 200

_T = TypeVar("_T")


class Peers:
    """Those services whom one run of a verification asks. Who has not answered is not asked again."""

    def __init__(self, atomic: AtomicCommit, services: Collection[str] | None) -> None:
        """`services`: nobody else is asked."""
        self._atomic, self._services = atomic, services
        #: service → ``ANSWERED``, or why it has not
        self.asked: dict[str, str] = {}

    def wanted(self, service: str) -> bool:
        """Whether it is to be asked, and has answered so far."""
        return (self._services is None or service in self._services) and self.asked.get(service, ANSWERED) == ANSWERED

    def lacking(self, verb: str, by_service: Iterable[tuple[str, Key]]) -> Iterator[tuple[str, Sequence[Key], Lacks]]:
        """Ask each service, with its task `verb`, which of these keys it has not. Gives service, keys, answer for each
        question that was answered."""
        in_order = sorted(by_service, key=lambda one: one[0])
        for service, of_one in groupby(in_order, key=lambda one: one[0]):
            for keys in _batches(key for _, key in of_one):
                if self.wanted(service) and (lacks := self._ask(service, verb, keys)):
                    yield service, keys, lacks

    def _ask(self, service: str, verb: str, keys: Sequence[Key]) -> Lacks | None:
        outcome_queue = self._atomic.installation.outcome_queue(service)
        words = ""
        for _ in range(_TRIES):
            try:
                said = self._atomic.messages.call(
                    service, verb, {"keys": write_keys(keys)}, queue=outcome_queue, within=WITHIN
                )
                return self._believed(service, read_lacks(said))
            except NoAnswer as error:
                words = str(error)
            except AtomicCommitError as error:
                words = str(error)
                break
        log.warning("%s has not answered %s: %s", service, verb, words)
        self.asked[service] = words
        return None

    def _believed(self, service: str, lacks: Lacks) -> Lacks:
        """An answer from a database that is not the service's is none."""
        if not self._atomic.coordinator.databases.accepts(service, lacks["database"]):
            raise NoAnswer(f"answers from database {lacks['database']}, which is not known as its own")
        self.asked[service] = ANSWERED
        return lacks


def _batches(items: Iterable[_T]) -> Iterator[list[_T]]:
    rest = iter(items)
    while batch := list(islice(rest, _BATCH)):
        yield batch
