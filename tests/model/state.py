"""What a state of the protocol is: the rows, the prepared transactions, the stored results, and what is on its way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import NamedTuple

#: The participants in the order of the chain, by the names of their branches in "remove user".
BRANCHES = ("orders.cancel_user_orders", "products.restock")
PARTICIPANTS = range(len(BRANCHES))
NAMES = tuple(branch.partition(".")[0] for branch in BRANCHES)


class Journal(NamedTuple):
    """The coordinator's rows. `branches[attempt - 1][participant]` is one row of ``transaction_branches``:
    "" not there, "open" no outcome yet, "commit" / "rollback" owed, "committed" / "rolled back" answered."""

    state: str = "none"  #: none, preparing, committed, aborted
    attempt: int = 1
    dispatched: bool = False
    branches: tuple[tuple[str, ...], ...] = ()
    local: str = "none"  #: the coordinator's own change: none, marked, applied, undone
    settled: bool = False


class Slot(NamedTuple):
    """What one participant's database has under one gid.

    `row`: the committed branch row. `work`: how far an uncommitted branch is; it holds the row's key, and from
    "run" on the business rows too. `times`: how often the function's changes were committed.
    """

    row: str = ""  #: "", done, tombstone
    work: str = ""  #: "", begun (branch row inserted), run (function done), prepared
    times: int = 0


class Item(NamedTuple):
    """Something on its way. Its kinds, by who takes it up:

    publish, link, decide, commit, rollback, ack   messages (publish: the process that is about to send the first link)
    store                                          a write to the result backend, `word` is what is written
    seen                                           a decider that has read the first vote, `word`
    intend                                         a decider that has counted and will now do the update, `word`
    """

    kind: str
    attempt: int
    participant: int = 0
    word: str = ""

    @property
    def words(self) -> str:
        """For traces."""
        return f"{self.kind} {self.word} ({NAMES[self.participant]}, attempt {self.attempt})".replace("  ", " ")


class State(NamedTuple):
    """A state of everything. `slots` and `results` run over participants, then attempts; `flight` is a bit set."""

    journal: Journal
    slots: tuple[Slot, ...]
    results: tuple[str, ...]  #: "" none, yes, refused, again, bare (SUCCESS without proof)
    flight: int = 0
    left: int = 0  #: faults that may still happen


class Step(NamedTuple):
    """One step, in words, with the state behind it. `fault`: something broke that need not."""

    words: str
    state: State
    fault: bool = False


VOTES = ("yes", "refused", "again", "bare", "")
DECISIONS = ("commit", "abort", "retry")


class Items:
    """Every item that can ever be on its way, and sets of them as integers."""

    def __init__(self, attempts: int) -> None:
        self.all = tuple(_every_item(attempts))
        self._bit = {item: 1 << number for number, item in enumerate(self.all)}

    def bits(self, items: Sequence[Item]) -> int:
        """The set of `items`."""
        bits = 0
        for item in items:
            bits |= self._bit[item]
        return bits

    def among(self, flight: int) -> Iterator[Item]:
        """The items of the set `flight`."""
        while flight:
            lowest = flight & -flight
            yield self.all[lowest.bit_length() - 1]
            flight ^= lowest


def _every_item(attempts: int) -> Iterator[Item]:
    for attempt in range(1, attempts + 1):
        yield from (Item("begin", attempt), Item("publish", attempt), Item("decide", attempt))
        yield from (Item("intend", attempt, word=decision) for decision in DECISIONS)
        yield from (Item("seen", attempt, word=vote) for vote in VOTES)
        for p, kind in product(PARTICIPANTS, ("link", "commit", "rollback")):
            yield Item(kind, attempt, p)
        for p, vote in product(PARTICIPANTS, ("yes", "refused", "again")):
            yield Item("store", attempt, p, vote)
        for p, answer in product(PARTICIPANTS, ("committed", "rolled back", "impossible")):
            yield Item("ack", attempt, p, answer)
