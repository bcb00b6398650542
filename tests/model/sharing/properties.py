"""What is promised of each transaction in every state and step, however the attempts were shared."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import TYPE_CHECKING

from .state import PARTICIPANTS, TRANSACTIONS, Slot, State

if TYPE_CHECKING:
    from .machine import Machine


class Property(StrEnum):
    """The promises, in words."""

    PROOF = "no commit unless every branch of the attempt is prepared with this transaction's changes in it"
    ONE_DECISION = "a decision never changes, nor what a branch was told"
    ATOMIC = "no participant ends otherwise than the decision, or before it, and nothing takes effect twice"
    NO_OVERLAP = "an attempt begins only when every earlier one of each member is over everywhere"
    NO_LATE_PREPARE = "a branch that was answered 'rolled back' is never prepared again"
    NOTHING_LEFT = "a settled transaction has nothing prepared, and every participant equals the decision"
    POSSIBLE = "no participant is ever told what contradicts its rows"
    JUST = "nobody is aborted for a refusal beside others that did not commit either"
    LIVE = "in every state recovery can go on, and every step of it leads nearer to the end"


_DECIDED = ("committed", "aborted")
_ANSWERED = {"commit": "committed", "rollback": "rolled back"}


def broken_by_step(machine: Machine, before: State, after: State) -> Iterator[Property]:
    """The promises about steps that this one breaks."""
    if before.transactions is after.transactions and before.branches is after.branches:
        return
    for t in TRANSACTIONS:
        old, new = before.transactions[t], after.transactions[t]
        if old.state in _DECIDED and (old.state, old.key) != (new.state, new.key):
            yield Property.ONE_DECISION
        if old.state == "preparing" and new.state == "committed":
            slots = machine.slots_of(before, new.key)
            if not all(slot.work == "prepared" and t in slot.inside for slot in slots):
                yield Property.PROOF
        if old.waits and not new.waits and new.state == "preparing":
            earlier = (slot for key in machine.keys if key != new.key for slot in machine.slots_of(before, key))
            if any(slot.work == "prepared" and t in slot.inside for slot in earlier):
                yield Property.NO_OVERLAP
    told = zip(sum(before.branches, ()), sum(after.branches, ()), strict=True)
    if any(was not in ("", "open", now) and now != _ANSWERED.get(was) for was, now in told):
        yield Property.ONE_DECISION


def broken_in_state(machine: Machine, state: State) -> Iterator[Property]:
    """The promises about states that this one breaks."""
    if state.impossible:
        yield Property.POSSIBLE
    for key, rows in zip(machine.keys, state.branches, strict=True):
        slots = machine.slots_of(state, key)
        if any(rows[p] == "rolled back" and slots[p].work == "prepared" for p in PARTICIPANTS):
            yield Property.NO_LATE_PREPARE
    for t, row in enumerate(state.transactions):
        yield from _broken_for(machine, state, t)
        if row.wronged:
            yield Property.JUST
    if not machine.goes_on(state):
        yield Property.LIVE


def _broken_for(machine: Machine, state: State, t: int) -> Iterator[Property]:
    """The promises about one transaction."""
    row = state.transactions[t]
    effects = [
        key
        for key in machine.keys
        for p, slot in enumerate(machine.slots_of(state, key))
        if p in machine.changing and slot.row == "done" and t in slot.inside
    ]
    if effects and (row.state != "committed" or {*effects} != {row.key} or len(effects) > len(machine.changing)):
        yield Property.ATOMIC
    if row.state == "committed" and not all(_has(slot, t) for slot in machine.slots_of(state, row.key)):
        yield Property.ATOMIC
    if row.settled:
        if row.state == "committed" and len(effects) != len(machine.changing):
            yield Property.NOTHING_LEFT
        if any(s.work == "prepared" and t in s.inside for key in machine.keys for s in machine.slots_of(state, key)):
            yield Property.NOTHING_LEFT


def _has(slot: Slot, t: int) -> bool:
    return (slot.work == "prepared" or slot.row == "done") and t in slot.inside


def quiet(machine: Machine, state: State) -> bool:
    """Whatever was accepted is settled, and no participant holds anything."""
    settled = all(row.settled or row.state == "none" for row in state.transactions)
    return settled and not any(slot.work for key in machine.keys for slot in machine.slots_of(state, key))


#: How far a transaction has come, and a branch row, and a slot.
_STAGES = {"none": 0, "preparing": 0, "committed": 100, "aborted": 100}
_TOLD = {"": 0, "open": 0, "commit": 1, "rollback": 1, "committed": 2, "rolled back": 2}
_HELD = {"begun": 0, "prepared": 1, "": 2}


def nearness(state: State) -> int:
    """A number that every step of recovery makes larger. It is bounded, because attempts are."""
    stages = sum(
        _STAGES[row.state] + row.settled + (2 * row.attempt + (not row.waits)) * (row.state == "preparing")
        for row in state.transactions
    )
    told = sum(_TOLD[word] for rows in state.branches for word in rows)
    return stages + told + sum(_HELD[slot.work] + bool(slot.row) for slots in state.slots for slot in slots)
