"""What is promised of every state, and of every way on from it."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum

from .state import ALL, ATTEMPTS, COORDINATOR, PARTICIPANTS, State


class Property(StrEnum):
    """The promises, in words."""

    ATOMIC = "no attempt is done at one participant and rolled back at the other"
    AGREED = "what is done is what was decided, as far as the journal knows the transaction"
    ONCE = "nothing takes effect twice at a participant"
    ENDS = "from every state one can be reached in which nobody is prepared and nothing undecided"


def broken(state: State) -> Iterator[Property]:
    """The promises about states that this one breaks. (What is quarantined is a person's: it was said, and nothing is
    done about it.)"""
    journal = state.journal
    if journal.quarantined:
        return
    for a in ATTEMPTS:
        if {"done", "tombstone"} <= {state.slots[p][a] for p in PARTICIPANTS}:
            yield Property.ATOMIC
    for p in PARTICIPANTS:
        done = [a for a in ATTEMPTS if state.slots[p][a] == "done"]
        if len(done) > 1:
            yield Property.ONCE
        if done and journal.state == "aborted":
            yield Property.AGREED
        if done and journal.state == "committed" and journal.told[done[0]] != "commit":
            yield Property.AGREED
    # (Answers can be newer than all databases too: then who is prepared asks, and is told once more.)
    asks = state.forgot == ALL and "prepared" in (state.slots[p][journal.attempt] for p in PARTICIPANTS)
    if journal.state == "committed" and _settled(state) and state.forgot in (None, COORDINATOR, ALL) and not asks:
        everywhere = all(state.slots[p][journal.attempt] == "done" for p in PARTICIPANTS)
        yield from () if everywhere else (Property.AGREED,)


def _settled(state: State) -> bool:
    return state.journal.answered[state.journal.attempt] == frozenset(PARTICIPANTS)


def ended(state: State) -> bool:
    """Nothing is undecided or owed, and nobody is prepared; or it is quarantined and a person's."""
    journal = state.journal
    if journal.quarantined:
        return True
    owed = any(
        told in ("commit", "rollback") and journal.answered[a] != frozenset(PARTICIPANTS)
        for a, told in enumerate(journal.told)
    )
    prepared = any(slot == "prepared" for slots in state.slots for slot in slots)
    return journal.state != "preparing" and not owed and not prepared
