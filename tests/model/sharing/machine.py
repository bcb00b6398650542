"""The steps of transactions that share attempts: for a state, everything that may happen next."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from itertools import combinations, product
from typing import TypeVar

from ..state import Step
from . import properties
from .engine_votes import Verdict, verdicts
from .mutations import Mutation as M
from .properties import Property
from .state import LETTERS, PARTICIPANTS, TRANSACTIONS, HandedOn, Key, Members, Noes, Result, Said, Slot, State
from .state import Transaction as Row

T = TypeVar("T")

_LAST = len(PARTICIPANTS) - 1
_ANSWERS = {"commit": "committed", "rollback": "rolled back"}

#: Mutations under which what is over may come back: nothing is left out of their states.
_NOT_REDUCIBLE = {M.ANY_ATTEMPT, M.NAMED_BY_THE_LEADER}

#: Mutations of the decider, in the words of ``engine_votes.verdicts``.
_DECIDERS_WITHOUT = {M.DROPPED_ALL_THE_SAME: "drops", M.REFUSED_BESIDE_OTHERS: "beside"}


class Machine:
    """Two transactions with `attempts` attempts each, two participants, any number of faults. `holds`: the first
    participant's branch changes nothing, so that the second may leave out who says no as well."""

    def __init__(self, attempts: int, without: M | None = None, *, holds: bool = False, reduce: bool = True) -> None:
        self.attempts, self.without = attempts, without
        self.changing = PARTICIPANTS[1:] if holds and without is not M.HOLD_THAT_WRITES else PARTICIPANTS
        self._leaving_out = PARTICIPANTS if holds or without is M.DROPPED_LATER else PARTICIPANTS[:1]
        self._reduce = reduce and without not in _NOT_REDUCIBLE
        self.keys = tuple(Key(leader, number) for leader in TRANSACTIONS for number in range(1, attempts + 1))
        self._at = {key: at for at, key in enumerate(self.keys)}
        self._said: list[Said] = []
        self._bit: dict[Said, int] = {}
        self._live = cache(self._find_live)
        self._any_verdict = cache(self._find_verdicts)
        self._all_lead_on = cache(self._find_whether_all_lead_on)
        self._lacks = _DECIDERS_WITHOUT.get(without, "") if without else ""

    def start(self) -> State:
        """Nothing is accepted yet."""
        nothing = (("",) * len(PARTICIPANTS),) * len(self.keys)
        return State((Row(),) * len(TRANSACTIONS), nothing, ((Slot(),) * len(PARTICIPANTS),) * len(self.keys))

    def steps(self, state: State) -> Iterator[Step]:
        """Everything that may happen next."""
        for words, after in self._steps(state):
            after = self.canonical(after)
            if after != state:
                yield Step(words, after)

    def broken_by_step(self, before: State, after: State) -> Iterator[Property]:
        """The promises that this step breaks."""
        return properties.broken_by_step(self, before, after)

    def broken_in_state(self, state: State) -> Iterator[Property]:
        """The promises that this state breaks."""
        return properties.broken_in_state(self, state)

    def slots_of(self, state: State, key: Key | None) -> tuple[Slot, ...]:
        """What the participants have under the gids of an attempt."""
        return state.slots[self._at[key]] if key in self._at else ()

    def canonical(self, state: State) -> State:
        """The state without what can't matter any more: what was said in attempts that are over, to participants that
        are over too."""
        if not self._reduce:
            return state
        under_way = tuple(bool(self.members(state, key)) for key in self.keys)
        over = tuple(tuple(bool(slot.row) for slot in slots) for slots in state.slots)
        return state._replace(said=state.said & self._live(under_way, over, len(self._said)))

    def goes_on(self, state: State) -> bool:
        """Whether recovery alone has a step here, whatever results are stored, or nothing is left to do; and whether
        each of its steps leads nearer to the end."""
        if properties.quiet(self, state):
            return True
        if not all(
            self._all_lead_on(key, self.members(state, key), self._yeses(state, key)) for key in self._under_way(state)
        ):
            return False
        here, steps = properties.nearness(state), 0
        for _, after in self._recovery(state):
            steps += 1
            if properties.nearness(after) <= here:
                return False
        return bool(steps)

    def members(self, state: State, key: Key) -> Members:
        """The undecided transactions that are in this attempt."""
        return tuple(t for t, row in enumerate(state.transactions) if _goes(row) and row.key == key)

    def _find_live(self, under_way: tuple[bool, ...], over: tuple[tuple[bool, ...], ...], _: int) -> int:
        def live(said: Said) -> bool:
            at, following = self._at[said.key], said.participant + 1
            return under_way[at] or (following in PARTICIPANTS and not over[at][following])

        return self._bits(said for said in self._said if live(said))

    # ---- states

    def _bits(self, those: Iterable[Said]) -> int:
        bits = 0
        for said in those:
            if said not in self._bit:
                self._bit[said] = 1 << len(self._said)
                self._said.append(said)
            bits |= self._bit[said]
        return bits

    def _among(self, bits: int) -> Iterator[Said]:
        while bits:
            lowest = bits & -bits
            yield self._said[lowest.bit_length() - 1]
            bits ^= lowest

    def _to(self, state: State, *said: Said, slot: tuple[Key, int, Slot] | None = None) -> State:
        slots = state.slots
        if slot:
            key, p, new = slot
            of_key = slots[self._at[key]]
            slots = _with(slots, self._at[key], _with(of_key, p, new))
        return state._replace(slots=slots, said=state.said | self._bits(said))

    def _telling(self, state: State, key: Key, rows: tuple[str, ...]) -> State:
        return state._replace(branches=_with(state.branches, self._at[key], rows))

    def _rows(self, state: State, key: Key) -> tuple[str, ...]:
        return state.branches[self._at[key]]

    def _under_way(self, state: State) -> list[Key]:
        return sorted({row.key for row in state.transactions if _goes(row) and row.key})

    def _yeses(self, state: State, key: Key) -> tuple[tuple[HandedOn, ...], ...]:
        """For each participant what its yes has handed on so far (several, if it was rolled back in between)."""
        said = [one for one in self._among(state.said) if one.key == key]
        return tuple(tuple(sorted(one.handed for one in said if one.participant == p)) for p in PARTICIPANTS)

    # ---- all steps

    def _steps(self, state: State) -> Iterator[tuple[str, State]]:
        for t, row in enumerate(state.transactions):
            if row.state == "none":
                yield from self._begin(state, t)
        yield from self._recovery(state)
        for key in self._under_way(state):
            yield from self._resent(state, key)
            for local in ("refused", "again"):
                yield from self._counted(state, key, local)
        for key, p in product(self.keys, PARTICIPANTS):
            if self.slots_of(state, key)[p].work == "begun":
                yield from self._branch(state, key, p)
        for said in self._among(state.said):
            if said.participant == _LAST:
                yield from self._decide(state, said)
            else:
                yield from self._prepare(state, said.key, said.participant + 1, said.handed)

    def _recovery(self, state: State) -> Iterator[tuple[str, State]]:
        """What happens without any message that is on its way, once all processes have ended."""
        yield from self._form(state)
        for key in self._under_way(state):
            yield from self._counted(state, key)
        for leader in TRANSACTIONS:
            yield from self._settle(state, leader)
        for key, p in product(self.keys, PARTICIPANTS):
            slot = self.slots_of(state, key)[p]
            if slot.work == "begun":
                yield f"{_branch_name(key, p)}: the branch's process ends", self._to(state, slot=(key, p, Slot()))
            yield from self._told(state, key, p)

    # ---- coordinator: begin, form

    def _begin(self, state: State, t: int) -> Iterator[tuple[str, State]]:
        waiting = _with(state.transactions, t, Row("preparing", waits=True))
        yield f"{LETTERS[t]} is accepted and waits", state._replace(transactions=waiting)
        accepted = state._replace(transactions=_with(state.transactions, t, Row("preparing")))
        yield f"{LETTERS[t]} is accepted and goes alone", self._started(accepted, t, (t,))

    def _form(self, state: State) -> Iterator[tuple[str, State]]:
        """Those that wait go, together or alone; who comes too late after a try is aborted."""
        free = [t for t in TRANSACTIONS if self._may_go(state, t)]
        for t in free:
            if state.transactions[t].attempt > 1:
                late = state.transactions[t]._replace(state="aborted", key=self._name(state, t), waits=False)
                yield f"{LETTERS[t]} comes too late", state._replace(transactions=_with(state.transactions, t, late))
        for size in range(1, len(free) + 1):
            for members in combinations(free, size):
                for leader in members:
                    if state.transactions[leader].attempt <= self.attempts:
                        words = f"{_names(members)} form attempt {self._name(state, leader)}"
                        yield words, self._started(state, leader, members)

    def _may_go(self, state: State, t: int) -> bool:
        """Whether it waits, and its last attempt is settled everywhere (``claim_waiting``)."""
        row = state.transactions[t]
        if not row.waits or self.without is M.DROPPED_GOES_AT_ONCE:
            return row.waits
        last = [key for key in self.keys if key.leader == t or key == row.key]
        return not any(told in _ANSWERS for key in last for told in self._rows(state, key))

    def _name(self, state: State, leader: int) -> Key:
        number = 1 if self.without is M.NAMED_BY_THE_LEADER else state.transactions[leader].attempt
        return Key(leader, number)

    def _started(self, state: State, leader: int, members: Members) -> State:
        key = self._name(state, leader)
        rows = tuple(
            row._replace(key=key, waits=False) if t in members else row for t, row in enumerate(state.transactions)
        )
        state = self._telling(state._replace(transactions=rows), key, ("open",) * len(PARTICIPANTS))
        return self._to(state, Said(key, -1, HandedOn(members)))

    def _resent(self, state: State, key: Key) -> Iterator[tuple[str, State]]:
        """An attempt is sent again as it was, so that nothing is new, but under one mutation."""
        if self.without is M.RESENT_WITH_OTHERS:
            for t in TRANSACTIONS:
                if self._may_go(state, t):
                    joined = _with(state.transactions, t, state.transactions[t]._replace(key=key, waits=False))
                    state = state._replace(transactions=joined)
                    everybody = HandedOn(self.members(state, key))
                    yield f"{key} is sent again with {LETTERS[t]}", self._to(state, Said(key, -1, everybody))

    # ---- participant: prepare

    def _prepare(self, state: State, key: Key, p: int, handed: HandedOn) -> Iterator[tuple[str, State]]:
        """A branch message arrives: the branch row is inserted, or is in the way. (A repetition that finds the first
        run's result hands on what was said already.)"""
        slot = self.slots_of(state, key)[p]
        if not slot.row and not slot.work:
            begun = Slot("", "begun", *handed)
            words = f"{_branch_name(key, p)}: the branch begins for {_names(begun.inside)}"
            yield words, self._to(state, slot=(key, p, begun))

    def _branch(self, state: State, key: Key, p: int) -> Iterator[tuple[str, State]]:
        """The function has run for all, or for some; for nobody is as if the process had ended."""
        slot = self.slots_of(state, key)[p]
        for said in product(("yes", "refused", "again"), repeat=len(slot.inside)):
            yes = tuple(t for t, word in zip(slot.inside, said, strict=True) if word == "yes")
            noes = tuple((t, word) for t, word in zip(slot.inside, said, strict=True) if word != "yes")
            if yes and (not noes or p in self._leaving_out):
                handed, held = HandedOn(yes, tuple(sorted((*slot.dropped, *noes)))), Slot("", "prepared", yes)
                here = f"{_branch_name(key, p)} for {_names(yes)}" + (f" ({_noes(noes)})" if noes else "")
                yield f"{here}: PREPARE TRANSACTION", self._to(state, Said(key, p, handed), slot=(key, p, held))
                yield f"{here}: prepared, but the answer is lost", self._to(state, slot=(key, p, held))

    # ---- coordinator: decide

    def _decide(self, state: State, said: Said) -> Iterator[tuple[str, State]]:
        """The chain's last link: it brings every branch's proof."""
        members = self.members(state, said.key)
        if self.without is M.ANY_ATTEMPT:
            known = {*said.handed.members, *(t for t, _ in said.handed.dropped)}
            members = tuple(t for t in sorted(known) if state.transactions[t].state == "preparing")
        if members:
            yes = (Result("yes", said.handed),) * len(PARTICIPANTS)
            for verdict in verdicts(said.key, members, yes, without=self._lacks):
                yield from self._write(state, said.key, verdict)

    def _counted(self, state: State, key: Key, local: str = "") -> Iterator[tuple[str, State]]:
        """Somebody reads the results and counts; `local` is a no of the coordinator's own change."""
        why = f"the coordinator's own change says {local}; " if local else ""
        for verdict in self._any_verdict(key, self.members(state, key), self._yeses(state, key), local):
            yield from self._write(state, key, verdict, why)

    def _find_verdicts(
        self, key: Key, members: Members, yeses: tuple[tuple[HandedOn, ...], ...], local: str
    ) -> list[Verdict]:
        found = product(*(_readable(members, handed) for handed in yeses))
        return sorted({v for votes in found for v in verdicts(key, members, votes, local, without=self._lacks)})

    def _find_whether_all_lead_on(self, key: Key, members: Members, yeses: tuple[tuple[HandedOn, ...], ...]) -> bool:
        found = product(*(_readable(members, handed) for handed in yeses))
        return all(verdicts(key, members, votes, without=self._lacks) for votes in found)

    def _write(self, state: State, key: Key, verdict: Verdict, why: str = "") -> Iterator[tuple[str, State]]:
        """All in one local transaction: who is committed, aborted, or goes again, and what the branches are told."""
        if self.without is M.FIRST_COME_FIRST_DECIDED:
            for t in self.members(state, key):
                own = Verdict(*(tuple(one for one in those if one == t) for those in verdict))
                yield f"{why}{key}: {_verdict(own)}", self._written(state, key, own)
        else:
            yield f"{why}{key}: {_verdict(verdict)}", self._written(state, key, verdict)

    def _written(self, state: State, key: Key, verdict: Verdict) -> State:
        rows = list(state.transactions)
        for t in verdict.committed:
            rows[t] = rows[t]._replace(state="committed", key=key, waits=False)
        for t in verdict.aborted:
            rows[t] = rows[t]._replace(state="aborted", key=key, waits=False, wronged=t in verdict.wronged)
        for t in verdict.again:
            rows[t] = rows[t]._replace(attempt=rows[t].attempt + 1, waits=True)
        outcome = "commit" if verdict.committed else "rollback"
        return self._telling(state._replace(transactions=tuple(rows)), key, (outcome,) * len(PARTICIPANTS))

    # ---- coordinator: settle

    def _answered(self, state: State, key: Key, p: int) -> State:
        rows = self._rows(state, key)
        return self._telling(state, key, _with(rows, p, _ANSWERS[rows[p]]))

    def _settle(self, state: State, leader: int) -> Iterator[tuple[str, State]]:
        """Whoever was decided in the last attempt of this leader, if nothing that it led is owed an answer."""
        led = [key for key in self.keys if key.leader == leader]
        if any(told in _ANSWERS for key in led for told in self._rows(state, key)):
            return
        rows = list(state.transactions)
        for t, row in enumerate(rows):
            met = (
                row.key is not None
                and row.key.leader == leader
                and (t == leader or self.without is not M.FOLLOWERS_UNSETTLED)
            )
            if met and row.state in ("committed", "aborted"):
                rows[t] = row._replace(settled=True)
        if tuple(rows) != state.transactions:
            yield f"what {LETTERS[leader]} led is settled", state._replace(transactions=tuple(rows))

    # ---- participant: outcomes

    def _told(self, state: State, key: Key, p: int) -> Iterator[tuple[str, State]]:
        """An outcome that is owed is met, or its answer arrives."""
        slot, told, here = self.slots_of(state, key)[p], self._rows(state, key)[p], _branch_name(key, p)
        if told == "commit":
            if slot.row == "done":
                yield f"{here} has answered: committed", self._answered(state, key, p)
            elif slot.work == "prepared":
                yield f"{here}: COMMIT PREPARED", self._to(state, slot=(key, p, Slot("done", "", slot.inside)))
            else:
                yield f"{here}: nothing prepared to commit", state._replace(impossible=True)
        elif told == "rollback":
            yield from self._rolled_back(state, key, p, slot, here)

    def _rolled_back(self, state: State, key: Key, p: int, slot: Slot, here: str) -> Iterator[tuple[str, State]]:
        """ROLLBACK PREPARED, then the tombstone, which waits for a branch that holds the row. The process may end in
        between; then the message has not been answered."""
        if slot.row == "tombstone":
            yield f"{here} has answered: rolled back", self._answered(state, key, p)
        elif slot.row:
            yield f"{here}: committed, and is to be rolled back", state._replace(impossible=True)
        elif slot.work == "prepared":
            yield f"{here}: ROLLBACK PREPARED", self._to(state, slot=(key, p, Slot()))
        elif not slot.work or self.without is M.FENCE_DOES_NOT_WAIT:
            yield f"{here}: fenced", self._to(state, slot=(key, p, slot._replace(row="tombstone")))


@cache
def _readable(members: Members, yeses: tuple[HandedOn, ...]) -> tuple[Result, ...]:
    """What a reader of a result may find: a yes that was said; a no, whether or not it was; nothing, or SUCCESS that
    proves nothing."""
    noes = [
        tuple((t, word) for t, word in zip(members, said, strict=True) if word)
        for said in product(("", "refused", "again"), repeat=len(members))
    ]
    of_single = [Result("noes", noes=those) for those in noes if those] if len(members) > 1 else [Result("refused")]
    return (Result(), Result("bare"), Result("again"), *of_single, *(Result("yes", handed) for handed in yeses))


def _goes(row: Row) -> bool:
    return row.state == "preparing" and not row.waits


def _with(those: tuple[T, ...], at: int, one: T) -> tuple[T, ...]:
    return (*those[:at], one, *those[at + 1 :])


# ---- words for traces


def _names(members: Members) -> str:
    return " and ".join(LETTERS[t] for t in members)


def _noes(noes: Noes) -> str:
    return ", ".join(f"{LETTERS[t]} {word}" for t, word in noes)


def _branch_name(key: Key, p: int) -> str:
    return f"participant {p + 1}, {key}"


def _verdict(verdict: Verdict) -> str:
    words = zip(("commit", "abort", "again"), verdict[:3], strict=True)
    return "; ".join(f"{_names(those)}: {word}" for word, those in words if those)
