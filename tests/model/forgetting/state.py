"""What a state is: one journal, two participants' rows, stored results, and what is on its way."""

from __future__ import annotations

from typing import NamedTuple

PARTICIPANTS = (0, 1)
#: Attempts of the life before, and the one behind the jump. (Two of the latter would add nothing: nothing is forgotten
#: a second time.)
ATTEMPTS = (0, 1, 2)
BEHIND_THE_JUMP = 2

#: Who forgets: the coordinator's database, or all of them together. (A participant's: its number.)
COORDINATOR, ALL = -1, -2

#: What one participant has under the gid of each attempt: "", prepared, done or tombstone.
Slots = tuple[str, ...]


class Journal(NamedTuple):
    """The coordinator's rows. ``told``: for each attempt "" (unknown), "open", "commit" or "rollback"; ``answered``:
    for each attempt which participants have answered that."""

    state: str = "none"  #: none, preparing, committed, aborted
    attempt: int = 0
    waits: bool = False  #: for another attempt, once this one is settled
    told: tuple[str, ...] = ("",) * len(ATTEMPTS)
    answered: tuple[frozenset[int], ...] = (frozenset(),) * len(ATTEMPTS)
    asking: bool = False
    heard: tuple[Slots | None, ...] = (None,) * len(PARTICIPANTS)  #: what each has testified
    quarantined: bool = False


class Item(NamedTuple):
    """A message: ``link``, ``commit`` in an epoch, ``rollback``, or ``ack`` with the answer."""

    kind: str
    attempt: int
    participant: int
    word: str = ""
    epoch: int = 0


class State(NamedTuple):
    """``kept``: who will forget, and what it was like at that moment. ``forgot``: who has forgotten; None, nobody yet.
    ``epochs``: in which each participant takes commits. ``yes``: the stored results, (attempt, participant) that voted
    yes."""

    journal: Journal = Journal()
    slots: tuple[Slots, ...] = (("",) * len(ATTEMPTS),) * len(PARTICIPANTS)
    flight: frozenset[Item] = frozenset()
    yes: frozenset[tuple[int, int]] = frozenset()
    kept: tuple[int, Journal | Slots | tuple[Journal, tuple[Slots, ...]]] | None = None
    forgot: int | None = None
    epochs: tuple[int, ...] = (0,) * len(PARTICIPANTS)
