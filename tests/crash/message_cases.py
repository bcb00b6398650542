"""The table of faults of messages and results: to which message of which transaction what is done, and what must come
of it. ``message_faults`` has the faults themselves.

What must come of it follows from the vote table and from the rows being the only truth: a message that is repeated,
late, early or lost changes nothing about the ending, it may only cost attempts; a branch whose messages all come after
the deadline ends in an abort; a result that does not prove that the branch is prepared is silence, and a forged no is a
no.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .forgery import FORGERIES, LOST, UNREADABLE
from .injections import KINDS

BRANCHES = {
    "remove_user": ("orders.cancel_user_orders", "products.restock"),
    "cancel_order": ("products.restock",),
    "place_order": ("users.hold_active_user", "products.take_stock"),
}
COORDINATORS = {"remove_user": "users", "cancel_order": "orders", "place_order": "orders"}

#: Instead of a task: the fault is done to all messages of the transaction.
EVERY = "every message"

#: Faults of one message that may befall any message of any ending.
ANY_MESSAGE = ("five at once", "five in a row", "dropped", "amid repeats", "again when settled")
#: Faults of all messages of the transaction together.
ALL_MESSAGES = ("each twice", "backwards when settled")
#: Faults of a message of attempt 1 in a transaction that takes a second attempt.
OVERTAKEN, REPEATED_LATE = "overtaken by the next attempt", "again after the next attempt"
PAST_DEADLINE = "past the deadline"

#: How the votes come to be counted after a result was forged: by recovery's look, because the message that asks for it
#: is lost, or because that message is delivered after all.
BY_RECOVERY, BY_MESSAGE = "counted by recovery", "counted by message"

_FINAL = ("FAILURE, refused", "REVOKED")


@dataclass(frozen=True)
class Case:
    """One fault. `must`: what becomes of the transaction (None: whole, one way or the other); `attempts`: how many it
    takes at least, because the fault has cost the others."""

    kind: str
    ending: str
    task: str
    fault: str
    must: str | None
    attempts: int = 1

    def __str__(self) -> str:
        return f"{self.kind}, {self.ending}: {self.task}: {self.fault}"

    @property
    def coordinator(self) -> str:
        return COORDINATORS[self.kind]

    @property
    def counting(self) -> str:
        """The task that counts the votes: after a refusal the error callback does."""
        return f"{self.coordinator}.{'review' if self.ending == 'refusal' else 'decide'}"


def all_cases() -> Iterator[Case]:
    """The whole table but for the deadline."""
    for kind in KINDS:
        for ending in ("commit", "refusal"):
            yield from _of_messages(kind, ending)
        yield from _of_attempts(kind)
        yield from _of_results(kind)


def deadline_cases() -> Iterator[Case]:
    """The part that needs a shop with a small deadline: every message of one task comes after it."""
    for kind in KINDS:
        for ending in ("commit", "refusal"):
            for task in tasks(kind, ending):
                must = "aborted" if ending == "refusal" or task in BRANCHES[kind] else "committed"
                yield Case(kind, ending, task, PAST_DEADLINE, must)


def tasks(kind: str, ending: str) -> list[str]:
    """Every message of a transaction that takes one attempt, in the order of the protocol; answers by their branch."""
    branches, coordinator = BRANCHES[kind], COORDINATORS[kind]
    verb, count = ("rollback", "review") if ending == "refusal" else ("commit", "decide")
    return [
        *branches,
        f"{coordinator}.{count}",
        *(f"{branch.partition('.')[0]}.{verb}" for branch in branches),
        *(f"{coordinator}.acknowledge of {branch}" for branch in branches),
    ]


def _of_messages(kind: str, ending: str) -> Iterator[Case]:
    must = "aborted" if ending == "refusal" else "committed"
    for fault in ANY_MESSAGE:
        for task in tasks(kind, ending):
            if fault == "amid repeats" and task == BRANCHES[kind][0]:
                continue  # nothing came before it that could be repeated
            lost = fault == "dropped" and task in BRANCHES[kind]
            yield Case(kind, ending, task, fault, must, attempts=2 if lost else 1)
    for fault in ALL_MESSAGES:
        yield Case(kind, ending, EVERY, fault, must)


def _of_attempts(kind: str) -> Iterator[Case]:
    branches, coordinator = BRANCHES[kind], COORDINATORS[kind]
    for task in (*branches, f"{coordinator}.decide"):
        yield Case(kind, "retry", task, OVERTAKEN, "committed", attempts=2)
    for task in tasks(kind, "refusal"):  # what an attempt consists of that is given up
        yield Case(kind, "retry", task, REPEATED_LATE, "committed", attempts=2)


def _of_results(kind: str) -> Iterator[Case]:
    for forgery in (*FORGERIES, LOST, UNREADABLE):
        final = forgery in _FINAL
        for branch in BRANCHES[kind]:
            must, attempts = ("aborted", 1) if final else ("committed", 2)
            yield Case(kind, "commit", branch, f"{forgery}; {BY_RECOVERY}", must, attempts)
            # The chain itself carries the proof to decide; but recovery may look first and read the forged no.
            yield Case(kind, "commit", branch, f"{forgery}; {BY_MESSAGE}", None if final else "committed")
        refuses = BRANCHES[kind][-1]
        for counted in (BY_RECOVERY, BY_MESSAGE):
            attempts = 1 if final else 2
            yield Case(kind, "refusal", refuses, f"{forgery}; {counted}", "aborted", attempts)
