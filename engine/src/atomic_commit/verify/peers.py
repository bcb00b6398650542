"""The other services, as far as they answer."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import groupby, islice
from typing import TYPE_CHECKING, Any, TypeVar

from atomic_commit.declare import Values
from atomic_commit.errors import AtomicCommitError, NoAnswer
from atomic_commit.names import Gid
from atomic_commit.wire.comparing import Key, Lacks, Unheld, read_lacks, read_unheld, write_keys

if TYPE_CHECKING:
    from atomic_commit.engine import AtomicCommit

log = logging.getLogger(__name__)

#: What is said of a service that has answered whatever it was asked.
ANSWERED = "answered"

#: Seconds for one answer, and how often it is asked for: a message may be lost.
WITHIN, _TRIES = 10.0, 2
#: Branches in one question.
_BATCH = 200

#: Holds in one question, each of which may wait for a lock; and seconds for the answer.
_HOLDS, _WITHIN_HOLDS = 20, 60.0

HOLD_AGAIN = "hold_again"

#: A branch that is a hold, the values of those for whom it held, and the seconds since its attempt.
Hold = tuple[Gid, Mapping[str, Values], float]

_T = TypeVar("_T")
_Answer = TypeVar("_Answer", Lacks, Unheld)


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
            for keys in _batches((key for _, key in of_one), _BATCH):
                if self.wanted(service) and (lacks := self._ask(service, verb, keys)):
                    yield service, keys, lacks

    def unheld(self, service: str, holds: Iterable[Hold]) -> Iterator[tuple[Gid, dict[str, str]]]:
        """Have a service hold again what it has forgotten to have held. Gives each that could be asked for, with those
        for whom it would be refused now: member → why."""
        queue = self._atomic.installation.branch_queue(service)
        for some in _batches(holds, _HOLDS):
            asked = {"holds": [[str(gid), dict(members), age] for gid, members, age in some]}
            if self.wanted(service) and (
                said := self._said(service, HOLD_AGAIN, asked, queue, _WITHIN_HOLDS, read_unheld)
            ):
                yield from (
                    (gid, said["refused"].get(str(gid), {})) for gid, *_ in some if str(gid) not in said["left"]
                )

    def _ask(self, service: str, verb: str, keys: Sequence[Key]) -> Lacks | None:
        queue = self._atomic.installation.outcome_queue(service)
        return self._said(service, verb, {"keys": write_keys(keys)}, queue, WITHIN, read_lacks)

    def _said(
        self,
        service: str,
        verb: str,
        asked: Mapping[str, Any],
        queue: str,
        within: float,
        read: Callable[[object], _Answer],
    ) -> _Answer | None:
        words = ""
        for _ in range(_TRIES):
            try:
                said = self._atomic.messages.call(service, verb, asked, queue=queue, within=within)
                return self._believed(service, read(said))
            except NoAnswer as error:
                words = str(error)
            except AtomicCommitError as error:
                words = str(error)
                break
        log.warning("%s has not answered %s: %s", service, verb, words)
        self.asked[service] = words
        return None

    def _believed(self, service: str, said: _Answer) -> _Answer:
        """An answer from a database that is not the service's is none."""
        if not self._atomic.coordinator.databases.accepts(service, said["database"]):
            raise NoAnswer(f"answers from database {said['database']}, which is not known as its own")
        self.asked[service] = ANSWERED
        return said


def _batches(items: Iterable[_T], size: int) -> Iterator[list[_T]]:
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch
