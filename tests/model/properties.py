"""What is promised of every state, of every step and of every execution."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import TYPE_CHECKING

from .state import PARTICIPANTS, Slot, State

if TYPE_CHECKING:
    from .machine import Machine


class Property(StrEnum):
    """The promises, in words."""

    PROOF = "no commit unless every branch of the attempt is prepared"
    ONE_DECISION = "a decision never changes, nor what a branch was told"
    ATOMIC = "no participant ends otherwise than the decision, or before it"
    OWN_CHANGE = "the coordinator's own change is made with the decision and never without it"
    ONCE = "no business function takes effect twice"
    NO_OVERLAP = "an attempt begins only when every earlier one is rolled back and fenced"
    NO_LATE_PREPARE = "a branch that was answered 'rolled back' is never prepared again"
    NOTHING_LEFT = "a settled transaction has nothing prepared or locked, and every participant equals the decision"
    POSSIBLE = "no participant is ever told what contradicts its rows"
    LIVE = "from every state, once nothing fails any more, a settled state can be reached"


def broken_by_step(machine: Machine, before: State, after: State) -> Iterator[Property]:
    """The promises about steps that this one breaks."""
    old, new = before.journal, after.journal
    if old is new:
        return
    if old.state == "preparing" and new.state == "committed":
        slots = [machine.slot(before, p, new.attempt) for p in PARTICIPANTS]
        if not all(slot.work == "prepared" for slot in slots):
            yield Property.PROOF
    if old.state in ("committed", "aborted") and (old.state, old.attempt) != (new.state, new.attempt):
        yield Property.ONE_DECISION
    told = zip(sum(old.branches, ()), sum(new.branches, ()), strict=True)
    if any(was not in ("", "open", now) and now != _ANSWERED.get(was) for was, now in told):
        yield Property.ONE_DECISION


_ANSWERED = {"commit": "committed", "rollback": "rolled back"}


def broken_in_state(machine: Machine, state: State) -> Iterator[Property]:
    """The promises about states that this one breaks."""
    journal = state.journal
    if journal.local not in _OWN_CHANGE[journal.state]:
        yield Property.OWN_CHANGE
    if state.flight & machine.impossible:
        yield Property.POSSIBLE
    for p in PARTICIPANTS:
        slots = [machine.slot(state, p, a) for a in range(1, machine.attempts + 1)]
        yield from _broken_by(journal.state, journal.attempt, journal.settled, slots, machine.one_slot)
        for a, branches in enumerate(journal.branches):
            if branches[p] == "rolled back" and slots[a].work == "prepared" and not machine.one_slot:
                yield Property.NO_LATE_PREPARE
            if branches[p] and not machine.one_slot and any(s.work or s.row != "tombstone" for s in slots[:a]):
                yield Property.NO_OVERLAP


_OWN_CHANGE = {"none": ("none",), "preparing": ("marked",), "committed": ("applied",), "aborted": ("undone",)}


def _broken_by(state: str, attempt: int, settled: bool, slots: list[Slot], one_slot: bool) -> Iterator[Property]:
    """The promises about one participant, by its slots of all attempts."""
    deciding = slots[attempt - 1]
    if state == "committed" and deciding.work != "prepared" and deciding.row != "done":
        yield Property.ATOMIC
    if any(slot.times and (state != "committed" or slot is not deciding) for slot in slots):
        yield Property.ATOMIC
    if sum(slot.times for slot in ([deciding] if one_slot else slots)) > 1:
        yield Property.ONCE
    if settled and any(slot.work for slot in slots):
        yield Property.NOTHING_LEFT
    if settled and state == "committed" and deciding.row != "done":
        yield Property.NOTHING_LEFT


def quiet(state: State) -> bool:
    """Nothing accepted is unsettled, and no participant holds anything."""
    return (state.journal.settled or state.journal.state == "none") and not any(slot.work for slot in state.slots)
