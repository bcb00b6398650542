"""The protocol with a database that forgets: for a state, everything that may happen next."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

from ..state import Step
from . import properties
from .mutations import Mutation as M
from .properties import Property
from .state import ALL, ATTEMPTS, BEHIND_THE_JUMP, COORDINATOR, PARTICIPANTS, Item, Journal, Slots, State

_T = TypeVar("_T")

_LAST = PARTICIPANTS[-1]
_NAMES = ("orders", "products")
_EVERYBODY = frozenset(PARTICIPANTS)


class Machine:
    """One transaction. `calm`: nothing is forgotten any more, and what has arrived does not come again."""

    def __init__(self, without: M | None = None, *, calm: bool = False) -> None:
        self.without, self.calm = without, calm

    def start(self) -> State:
        """A request has arrived, nothing is accepted yet."""
        return State()

    def steps(self, state: State) -> Iterator[Step]:
        """Everything that may happen next."""
        for step in self._steps(state):
            after = self._reduced(step.state)
            if after != state:
                yield Step(step.words, after)

    def _reduced(self, state: State) -> State:
        """Without what can't matter any more, so that states are the same which go on in the same way: once it has
        forgotten, the backup, results of what is decided, and messages that find everything done."""
        if state.forgot is None:
            return state
        flight = frozenset(item for item in state.flight if self._matters(state, item))
        decided = state.journal.state in ("committed", "aborted")
        return state._replace(kept=None, flight=flight, yes=frozenset() if decided else state.yes)

    def _matters(self, state: State, item: Item) -> bool:
        a, p = item.attempt, item.participant
        slot, answered = state.slots[p][a], p in state.journal.answered[a]
        if item.kind == "link":
            return slot == ""
        if item.kind == "commit":
            return item.epoch == state.epochs[p] and not (answered and slot != "prepared")
        if item.kind == "rollback":
            return not (answered and slot in ("tombstone", "done"))
        return not answered

    def broken_by_step(self, before: State, after: State) -> Iterator[Property]:
        """Every promise here is one about states."""
        return iter(())

    def broken_in_state(self, state: State) -> Iterator[Property]:
        """The promises that this state breaks."""
        return properties.broken(state)

    def _steps(self, state: State) -> Iterator[Step]:
        if not self.calm:
            yield from self._forget(state)
        journal = state.journal
        if journal.state == "none" and state.forgot is None:
            accepted = journal._replace(state="preparing", told=_with(journal.told, 0, "open"))
            yield Step("begin", self._sent(state, Item("link", 0, 0), journal=accepted))
        if not journal.quarantined:
            yield from self._look(state)
        for item in state.flight:
            taken = state._replace(flight=state.flight - {item}) if self.calm else state
            yield from getattr(self, f"_{item.kind}")(taken, item)
        if self.without is not M.NO_INQUIRY:
            yield from self._inquire(state)

    # ---- a database forgets

    def _forget(self, state: State) -> Iterator[Step]:
        if state.forgot is not None:
            return
        if state.kept is None:
            for who in (COORDINATOR, *PARTICIPANTS):
                is_now: Journal | Slots = state.journal if who == COORDINATOR else state.slots[who]
                yield Step(f"{_name(who)}: a backup is made", state._replace(kept=(who, is_now)))
            yield Step("a restore point is set", state._replace(kept=(ALL, (state.journal, state.slots))))
            return
        who, was = state.kept
        words = f"{_name(who)} FORGETS what it has done since its backup"
        if who == ALL:
            journal, slots = was
            yield Step("ALL ARE RESTORED", self._in_another_life(state, journal, forgot=ALL)._replace(slots=slots))
        elif isinstance(was, Journal):
            yield Step(words, self._in_another_life(state, was, forgot=who))
        else:
            after = state._replace(slots=_with(state.slots, who, was), forgot=who)
            yield Step(words, after._replace(epochs=self._new_epoch(state.epochs, who)))

    def _in_another_life(self, state: State, was: Journal, *, forgot: int) -> State:
        asking = was.state == "preparing" and self.without is not M.NOBODY_ASKED
        epochs = state.epochs
        for p in PARTICIPANTS if forgot == ALL else ():
            epochs = self._new_epoch(epochs, p)
        return state._replace(journal=was._replace(asking=asking), forgot=forgot, epochs=epochs)

    def _new_epoch(self, epochs: tuple[int, ...], p: int) -> tuple[int, ...]:
        return epochs if self.without is M.OLD_EPOCH else _with(epochs, p, 1)

    # ---- the coordinator

    def _look(self, state: State) -> Iterator[Step]:
        journal = state.journal
        for a, told in enumerate(journal.told):
            for p in PARTICIPANTS:
                if told in ("commit", "rollback") and p not in journal.answered[a] and not journal.asking:
                    sent = self._sent(state, self._outcome(state, told, a, p))
                    yield Step(f"{told} is sent to {_NAMES[p]}, attempt {a}", sent)
        if journal.state != "preparing":
            return
        if journal.asking:
            yield from self._ask(state)
            if self.without is not M.DECIDED_WHILE_ASKING:
                return
        a = journal.attempt
        if journal.waits:
            if journal.answered[a] == _EVERYBODY:
                yield from self._next(state)
        elif journal.told[a] == "open":
            if all((a, p) in state.yes for p in PARTICIPANTS):
                decided = journal._replace(state="committed", told=_with(journal.told, a, "commit"), asking=False)
                yield Step(f"DECIDED: committed (attempt {a})", state._replace(journal=decided))
            given_up = journal._replace(told=_with(journal.told, a, "rollback"))
            yield Step(f"attempt {a} is given up", state._replace(journal=given_up._replace(waits=True)))
            yield Step("DECIDED: aborted", state._replace(journal=given_up._replace(state="aborted", asking=False)))
            yield Step(f"attempt {a} is published", self._sent(state, Item("link", a, 0)))

    def _next(self, state: State) -> Iterator[Step]:
        """Another attempt, if there is one left in this bounded world; else it is aborted."""
        journal = state.journal
        yield Step("DECIDED: aborted", state._replace(journal=journal._replace(state="aborted", waits=False)))
        following = journal.attempt + 1
        if state.forgot in (COORDINATOR, ALL) and self.without is not M.NUMBER_GIVEN_TWICE:
            following = BEHIND_THE_JUMP
        if following == journal.attempt or following > (1 if state.forgot is None else BEHIND_THE_JUMP):
            return
        told = _with(journal.told, following, "open")
        begun = journal._replace(attempt=following, waits=False, told=told)
        yield Step(f"attempt {following} begins", self._sent(state, Item("link", following, 0), journal=begun))

    # ---- asking

    def _ask(self, state: State) -> Iterator[Step]:
        journal = state.journal
        for p in PARTICIPANTS:
            if journal.heard[p] is None:
                heard = _with(journal.heard, p, state.slots[p])
                words = f"{_NAMES[p]} testifies {state.slots[p]}"
                yield Step(words, self._promised(state, p)._replace(journal=journal._replace(heard=heard)))
        missing = [p for p in PARTICIPANTS if journal.heard[p] is None]
        if not missing or (self.without is M.ONE_IS_ENOUGH and len(missing) == 1):
            yield self._conclude(state)

    def _promised(self, state: State, p: int) -> State:
        """What is testified to a life is a promise to do nothing that the one before has sent."""
        if state.forgot not in (COORDINATOR, ALL) or self.without is M.NO_PROMISE:
            return state
        return state._replace(epochs=self._new_epoch(state.epochs, p))

    def _conclude(self, state: State) -> Step:
        journal = state.journal
        heard = [slots or ("",) * len(ATTEMPTS) for slots in journal.heard]
        proven = [a for a in ATTEMPTS if any(slots[a] == "done" for slots in heard)]
        if not proven or self.without is M.PROOF_IGNORED:
            return self._go_on(state, heard)
        a = proven[0]
        states = [slots[a] for slots in heard]
        if len(proven) > 1 or ("tombstone" in states and self.without is not M.TOMBSTONE_IGNORED):
            return Step(f"QUARANTINE: {states}", state._replace(journal=journal._replace(quarantined=True)))
        prepared = [p for p in PARTICIPANTS if states[p] == "prepared"]
        if prepared and self.without is not M.PREPARED_FORGOTTEN:
            again = tuple(None if p in prepared else heard[p] for p in PARTICIPANTS)
            commits = [self._outcome(state, "commit", a, p) for p in prepared]
            return Step("proven: the others commit", self._sent(state, *commits, journal=journal._replace(heard=again)))
        lost = "" in states
        rolled = _with(journal.told, journal.attempt, "rollback") if journal.attempt != a else journal.told
        forward = journal._replace(
            state="committed",
            attempt=a,
            waits=False,
            told=_with(rolled, a, "commit"),
            answered=_with(journal.answered, a, _EVERYBODY),
            asking=False,
            heard=(None,) * len(PARTICIPANTS),
            quarantined=lost,
        )
        return Step(f"ROLLED FORWARD (attempt {a}){', something is lost' * lost}", state._replace(journal=forward))

    def _go_on(self, state: State, heard: list[Slots]) -> Step:
        """Nobody has done it."""
        journal, a = state.journal, state.journal.attempt
        told = journal.told
        if told[a] == "open" and self.without is not M.NOT_ABANDONED:
            told = _with(told, a, "rollback")
        stray = [Item("rollback", b, p) for p in PARTICIPANTS for b in ATTEMPTS if heard[p][b] == "prepared" and b != a]
        answered = _with(journal.answered, a, _EVERYBODY) if told[a] == "open" else journal.answered
        on = journal._replace(asking=False, waits=True, told=told, answered=answered, heard=(None,) * len(PARTICIPANTS))
        return Step("nobody has done it: it goes on", self._sent(state, *stray, journal=on))

    # ---- the participants

    def _link(self, state: State, item: Item) -> Iterator[Step]:
        a, p = item.attempt, item.participant
        if state.slots[p][a] == "":
            done = state._replace(slots=_slot(state.slots, p, a, "prepared"), yes=state.yes | {(a, p)})
            on = [Item("link", a, p + 1)] if p < _LAST else []
            yield Step(f"{_NAMES[p]}, attempt {a}: PREPARED", self._sent(done, *on))

    def _commit(self, state: State, item: Item) -> Iterator[Step]:
        a, p = item.attempt, item.participant
        if item.epoch != state.epochs[p]:
            return  # void: it is answered, and sent again if the journal says so, as by every look
        was = state.slots[p][a]
        after = state._replace(slots=_slot(state.slots, p, a, "done")) if was == "prepared" else state
        word = "committed" if was in ("prepared", "done") else "impossible"
        yield Step(f"{_NAMES[p]}, attempt {a}: commit, {word}", self._sent(after, Item("ack", a, p, word)))

    def _rollback(self, state: State, item: Item) -> Iterator[Step]:
        a, p = item.attempt, item.participant
        was = state.slots[p][a]
        after = state if was == "done" else state._replace(slots=_slot(state.slots, p, a, "tombstone"))
        word = "impossible" if was == "done" else "rolled back"
        yield Step(f"{_NAMES[p]}, attempt {a}: rollback, {word}", self._sent(after, Item("ack", a, p, word)))

    def _ack(self, state: State, item: Item) -> Iterator[Step]:
        journal, a, p = state.journal, item.attempt, item.participant
        told = journal.told[a]
        if told not in ("commit", "rollback") or p in journal.answered[a] or journal.asking:
            return
        if item.word == {"commit": "committed", "rollback": "rolled back"}[told]:
            answered = _with(journal.answered, a, journal.answered[a] | {p})
            yield Step(f"{_NAMES[p]} has answered", state._replace(journal=journal._replace(answered=answered)))
        elif item.word == "impossible":
            if told == "rollback" and journal.state == "preparing":
                asked = journal._replace(asking=True, heard=(None,) * len(PARTICIPANTS))
                yield Step(f"{_NAMES[p]} has committed: everybody is asked", state._replace(journal=asked))
            else:
                yield Step("QUARANTINE", state._replace(journal=journal._replace(quarantined=True)))

    # ---- who stands prepared asks

    def _inquire(self, state: State) -> Iterator[Step]:
        journal = state.journal
        for p in PARTICIPANTS:
            for a in ATTEMPTS:
                if state.slots[p][a] != "prepared" or journal.asking:
                    continue
                told = journal.told[a]
                if told in ("commit", "rollback"):
                    if self.without is not M.SETTLED_FOR_EVER:
                        yield Step(f"{_NAMES[p]} asks: {told}", self._sent(state, self._outcome(state, told, a, p)))
                elif told == "":
                    yield self._unknown(state, p, a)

    def _unknown(self, state: State, p: int, a: int) -> Step:
        others = [state.slots[q][a] for q in PARTICIPANTS]
        done = "done" in others and self.without is not M.UNKNOWN_ROLLED_BACK
        outcome = "commit" if done else "rollback"
        told = [q for q in PARTICIPANTS if outcome == "rollback" or others[q] == "prepared"]
        words = f"{_NAMES[p]} asks about attempt {a}, which nobody knows: {outcome}"
        for q in PARTICIPANTS:
            state = self._promised(state, q)
        return Step(words, self._sent(state, *(self._outcome(state, outcome, a, q) for q in told)))

    def _outcome(self, state: State, told: str, a: int, p: int) -> Item:
        """A commit names the epoch. (One that is named wrongly is void, which is as if it had been lost.)"""
        return Item(told, a, p, epoch=state.epochs[p] if told == "commit" else 0)

    def _sent(self, state: State, *sent: Item, journal: Journal | None = None) -> State:
        return state._replace(flight=state.flight | set(sent), journal=journal or state.journal)


def _with(values: tuple[_T, ...], at: int, value: _T) -> tuple[_T, ...]:
    return (*values[:at], value, *values[at + 1 :])


def _slot(slots: tuple[Slots, ...], p: int, a: int, value: str) -> tuple[Slots, ...]:
    return _with(slots, p, _with(slots[p], a, value))


def _name(who: int) -> str:
    return "the coordinator" if who == COORDINATOR else _NAMES[who]
