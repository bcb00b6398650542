"""What a state is: the rows of two transactions, those of their attempts, and what the participants hold."""

from __future__ import annotations

from typing import NamedTuple

TRANSACTIONS = (0, 1)
PARTICIPANTS = (0, 1)
#: For traces.
LETTERS = "AB"

#: Some of the transactions, in order.
Members = tuple[int, ...]
#: Who said no where others went on, and how ("refused", "again").
Noes = tuple[tuple[int, str], ...]


class Key(NamedTuple):
    """The name of an attempt: who leads it, and which of the leader's attempts it is."""

    leader: int
    number: int

    def __str__(self) -> str:
        return f"{LETTERS[self.leader]}{self.number}"


class Transaction(NamedTuple):
    """One row of ``transactions``. `key`: the attempt that it is part of, or was last (``leader`` and
    ``leader_attempt``, or its own); None before the first. It waits for another one if `waits`."""

    state: str = "none"  #: none, preparing, committed, aborted
    attempt: int = 1
    key: Key | None = None
    waits: bool = False
    settled: bool = False
    wronged: bool = False  #: aborted for a refusal beside others that did not commit either


class Slot(NamedTuple):
    """What one participant's database has under one gid. `inside`: the members whose changes are in what is prepared or
    committed; while the branch runs, those that it was handed, with whom the first branch has `dropped`."""

    row: str = ""  #: "", done, tombstone
    work: str = ""  #: "", begun, prepared
    inside: Members = ()
    dropped: Noes = ()


class HandedOn(NamedTuple):
    """What the chain brings to a branch or to the decider."""

    members: Members
    dropped: Noes = ()


class Result(NamedTuple):
    """A stored result. `status`: "" none, yes, bare (SUCCESS without proof), refused, again, noes (of members)."""

    status: str = ""
    handed: HandedOn = HandedOn(())
    noes: Noes = ()


class Said(NamedTuple):
    """The members of an attempt as its chain begins (`participant` -1), or what a participant's yes hands on: to the
    next link or the decider, and to whoever reads its result. It may arrive there never, once or often."""

    key: Key
    participant: int
    handed: HandedOn


class State(NamedTuple):
    """A state of everything. `branches`: for each attempt a row for each participant: "" not there, "open" no outcome
    yet, "commit" / "rollback" owed, "committed" / "rolled back" answered. `said`: a bit set."""

    transactions: tuple[Transaction, ...]
    branches: tuple[tuple[str, ...], ...]
    slots: tuple[tuple[Slot, ...], ...]
    said: int = 0
    impossible: bool = False  #: a participant was told what contradicts its rows
