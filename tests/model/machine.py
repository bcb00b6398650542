"""The protocol's steps: for a state, everything that may happen next. One method an actor, named as in the engine."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import product

from . import properties
from .engine_votes import ballot, decisions
from .mutations import REDUCIBLE
from .mutations import Mutation as M
from .properties import Property
from .state import BRANCHES, NAMES, PARTICIPANTS, VOTES, Item, Items, Journal, Slot, State, Step

#: The one slot in which a change is made, and what it becomes.
Change = tuple[int, int, Slot]
_LAST = len(BRANCHES) - 1
_ANSWERS = {"commit": "committed", "rollback": "rolled back"}


class Machine:
    """One coordinator, two participants, `attempts` attempts.

    `faults`: how many things may go wrong, each of them a step of its own; what is on its way is used up when it
    arrives. None: any number, since nothing that is on its way is ever used up.
    """

    def __init__(
        self, attempts: int, faults: int | None = None, without: M | None = None, *, reduce: bool = True
    ) -> None:
        self.attempts, self.faults, self.without, self.forever = attempts, faults, without, faults is None
        self.items = Items(attempts)
        self.one_slot = without is M.SAME_IDENTIFIERS
        self.impossible = self.items.bits([i for i in self.items.all if i.word == "impossible"])
        self._bits = cache(lambda *items: self.items.bits(items))
        self._live = cache(self._find_live)
        self._reduce = reduce and (without is None or without in REDUCIBLE)
        self._takers = {
            "begin": self._publish,
            "publish": self._publish,
            "link": self._prepare,
            "store": self._store,
            "decide": self._decide,
            "seen": self._second_vote,
            "intend": self._update,
            "commit": self._commit,
            "rollback": self._rollback,
            "ack": self._acknowledge,
        }

    def start(self) -> State:
        """A request has arrived, nothing is accepted yet."""
        journal = Journal(branches=(("",) * len(BRANCHES),) * self.attempts)
        places = len(BRANCHES) * self.attempts
        return State(journal, (Slot(),) * places, ("",) * places, 0, self.faults or 0)

    def slot(self, state: State, participant: int, attempt: int) -> Slot:
        """What `participant` has under the gid of `attempt`."""
        return state.slots[self._at(participant, attempt)]

    def steps(self, state: State) -> Iterator[Step]:
        """Everything that may happen next."""
        for words, after, fault in self._steps(state):
            if fault and not self.forever:
                if not state.left:
                    continue
                after = after._replace(left=state.left - 1)
            if self._reduce:
                after = self.canonical(after)
            if after != state:
                yield Step(words, after, fault)

    def broken_by_step(self, before: State, after: State) -> Iterator[Property]:
        """The promises that this step breaks."""
        return properties.broken_by_step(self, before, after)

    def broken_in_state(self, state: State) -> Iterator[Property]:
        """The promises that this state breaks."""
        return properties.broken_in_state(self, state)

    def canonical(self, state: State) -> State:
        """The state without what can't matter any more: results and votes of attempts that are over, messages to
        branches that are fenced. (`test_model.py` compares with a search that keeps everything.)"""
        journal, slots, results, flight, left = state
        if any(results):
            current = journal.attempt if journal.state == "preparing" else 0
            results = tuple(r if i % self.attempts == current - 1 else "" for i, r in enumerate(results))
        return State(journal, slots, results, flight & self._live(journal, slots), left)

    def remains(self, state: State) -> Iterator[State]:
        """What databases and result backend may hold in `state`, with nothing on its way any more."""
        if state.journal.state != "preparing":
            yield state._replace(flight=0)
            return
        a = state.journal.attempt
        for votes in product(*(self.readable(state, p, a) for p in PARTICIPANTS)):
            results = list(state.results)
            for p in PARTICIPANTS:
                results[self._at(p, a)] = votes[p]
            yield state._replace(flight=0, results=tuple(results))

    def _find_live(self, journal: Journal, slots: tuple[Slot, ...]) -> int:
        def live(item: Item) -> bool:
            p, a = item.participant, item.attempt
            under_way = journal.state == "preparing" and journal.attempt == a
            told = journal.branches[a - 1][p]
            if item.kind == "begin":
                return not slots[self._at(0, a)].row
            if item.kind == "publish":
                return not journal.settled and a <= journal.attempt <= a + 1
            if item.kind == "link":
                return not slots[self._at(p, a)].row
            if item.kind in ("commit", "rollback"):
                return told == item.kind or not slots[self._at(p, a)].row
            if item.kind == "ack":
                return told in _ANSWERS or item.word == "impossible"
            return under_way

        return self.items.bits([item for item in self.items.all if live(item)])

    def _at(self, participant: int, attempt: int) -> int:
        return participant * self.attempts + (0 if self.one_slot else attempt - 1)

    def _steps(self, state: State) -> Iterator[Step]:
        if state.journal.state == "none":
            yield from self._begin(state)
            return
        yield from self._look(state)
        for item in self.items.among(state.flight):
            yield from self._takers[item.kind](state, item)
            if state.left:
                yield from self._fate(state, item)
        if state.left:
            yield from self._backend_faults(state)
        for p in PARTICIPANTS:
            for a in range(1, 2 if self.one_slot else self.attempts + 1):
                if self.slot(state, p, a).work in ("begun", "run"):
                    yield from self._branch(state, p, a)

    def _to(
        self,
        state: State,
        used: Item | None,
        *sent: Item,
        journal: Journal | None = None,
        change: Change | None = None,
        result: tuple[int, int, str] | None = None,
    ) -> State:
        """The state after a step that takes `used` up, sends `sent` and changes one place of the rows."""
        flight, slots, results = state.flight, state.slots, state.results
        if used and not self.forever:
            flight &= ~self._bits(used)
        if sent:
            flight |= self._bits(*sent)
        if change:
            at = self._at(change[0], change[1])
            slots = (*slots[:at], change[2], *slots[at + 1 :])
        if result:
            at = self._at(result[0], result[1])
            results = (*results[:at], result[2], *results[at + 1 :])
        return State(journal or state.journal, slots, results, flight, state.left)

    def _fate(self, state: State, item: Item) -> Iterator[Step]:
        """What may go wrong with something on its way."""
        yield Step(f"LOST, or its process dies: {item.words}", self._to(state, item), True)
        if item.kind not in ("begin", "publish", "seen", "intend"):
            for step in self._takers[item.kind](state, item):
                again = step.state._replace(flight=step.state.flight | self._bits(item))
                yield Step(f"{step.words} (and the message will come once more)", again, True)

    def _with_branches(self, journal: Journal, attempt: int, rows: tuple[str, ...]) -> Journal:
        branches = journal.branches
        return journal._replace(branches=(*branches[: attempt - 1], rows, *branches[attempt:]))

    # ---- coordinator: begin, publish

    def _begin(self, state: State) -> Iterator[Step]:
        taken = state.journal._replace(state="aborted", local="undone", settled=True)
        accepted = state.journal._replace(state="preparing", dispatched=True, local="marked")
        accepted = self._with_branches(accepted, 1, ("open",) * len(BRANCHES))
        yield Step("begin: accepted, attempt 1", self._to(state, None, Item("begin", 1), journal=accepted))
        words = "begin: its commit is lost, a settled row takes its place"
        yield Step(words, self._to(state, None, journal=taken), True)

    def _publish(self, state: State, item: Item) -> Iterator[Step]:
        """Begin sends the attempt that it inserted; recovery reads the row once more and sends what it finds."""
        journal, a = state.journal, item.attempt
        attempt = a if item.kind == "begin" else journal.attempt
        if journal.branches[attempt - 1][0]:
            yield Step(f"attempt {attempt} is published", self._to(state, item, Item("link", attempt, 0)))
        if journal.state == "preparing" and journal.attempt == a and journal.dispatched:
            unsent = journal._replace(dispatched=False)
            words = f"the publisher of attempt {a} hears that the broker took nothing, true or not, and notes it"
            yield Step(words, self._to(state, item, journal=unsent), True)

    # ---- participant: prepare

    def _prepare(self, state: State, item: Item) -> Iterator[Step]:
        """A branch message arrives: the branch row is inserted, or is in the way."""
        p, a = item.participant, item.attempt
        slot, here = self.slot(state, p, a), f"{NAMES[p]}, attempt {a}"
        if slot.row and self.without not in (M.REPEAT_RUNS_AGAIN, M.BRANCH_ROW_LAST):
            yield Step(f"{here}: a branch message meets the {slot.row} row", self._to(state, item, *self._no(p, a)))
        elif slot.work:
            yield from self._repeat(state, item)
        elif self.without is M.REPEAT_RUNS_AGAIN:
            yield Step(f"{here}: the branch begins", self._to(state, item, change=(p, a, slot._replace(work="begun"))))
        else:
            begun = slot._replace(work="begun")
            yield Step(f"{here}: the branch begins, its row is inserted", self._to(state, item, change=(p, a, begun)))

    def _branch(self, state: State, p: int, a: int) -> Iterator[Step]:
        """A running branch goes on, or its process dies."""
        slot, here = self.slot(state, p, a), f"{NAMES[p]}, attempt {a}"
        free, no = (p, a, slot._replace(work="")), self._no(p, a)
        yield Step(f"{here}: the branch's process dies", self._to(state, None, change=free), True)
        if slot.work == "begun":
            yield Step(f"{here}: the function meets a conflict", self._to(state, None, *no, change=free))
            refusal = self._no(p, a, "refused")
            yield Step(f"{here}: the function refuses", self._to(state, None, *refusal, change=free))
            if not self._locked_by_another(state, p, a):
                run = (p, a, slot._replace(work="run"))
                yield Step(f"{here}: the function runs", self._to(state, None, change=run))
        elif slot.row and self.without is M.BRANCH_ROW_LAST:
            yield Step(f"{here}: the row is in the way at last", self._to(state, None, *no, change=free))
        else:
            held = (p, a, slot._replace(work="prepared"))
            yield Step(f"{here}: PREPARE TRANSACTION", self._to(state, None, *self._yes(p, a), change=held))
            yield Step(f"{here}: prepared, but the answer is lost", self._to(state, None, *no, change=held), True)
            said = self._yes(p, a) if self.without is M.TAG_UNCHECKED else no
            yield Step(f"{here}: PREPARE is answered with ROLLBACK", self._to(state, None, *said, change=free), True)

    def _locked_by_another(self, state: State, p: int, a: int) -> bool:
        others = (self.slot(state, p, other) for other in range(1, self.attempts + 1) if other != a)
        return not self.one_slot and any(slot.work in ("run", "prepared") for slot in others)

    def _repeat(self, state: State, item: Item) -> Iterator[Step]:
        """A repetition meets the held row and looks for the first run's result: hands it on, or votes no."""
        p, a = item.participant, item.attempt
        for found in self.readable(state, p, a):
            if ballot(p, a, found).vote == "yes" or self.without is M.REPEAT_SAYS_YES:
                words = f"{NAMES[p]}, attempt {a}: a repeated message, the first run's result is handed on"
                yield Step(words, self._to(state, item, *self._yes(p, a)))
            else:
                words = f"{NAMES[p]}, attempt {a}: a repeated message, no result is known, the vote is no"
                yield Step(words, self._to(state, item, *self._no(p, a)))

    def _yes(self, p: int, a: int) -> tuple[Item, ...]:
        """What a prepared branch's process sends: the next link (Celery's order: first), its result."""
        return (Item("link", a, p + 1) if p < _LAST else Item("decide", a)), Item("store", a, p, "yes")

    def _no(self, p: int, a: int, kind: str = "again") -> tuple[Item, ...]:
        """What a failed branch's process sends: its FAILURE, which Celery copies to the links behind it."""
        return tuple(Item("store", a, q, kind) for q in PARTICIPANTS if q >= p)

    # ---- result backend

    def _store(self, state: State, item: Item) -> Iterator[Step]:
        """A write arrives. Where writes stay on their way for ever, `readable` knows what that amounts to."""
        if not self.forever:
            word = {"yes": "SUCCESS", "refused": "FAILURE (refused)", "again": "FAILURE"}[item.word]
            words = f"result of {NAMES[item.participant]}, attempt {item.attempt}: {word}"
            yield Step(words, self._to(state, item, result=(item.participant, item.attempt, item.word)))

    def _backend_faults(self, state: State) -> Iterator[Step]:
        a = state.journal.attempt
        for p in PARTICIPANTS:
            for found, words in (("", "is lost"), ("bare", "says SUCCESS and proves nothing")):
                if state.journal.state == "preparing":
                    after = self._to(state, None, result=(p, a, found))
                    yield Step(f"the result of {NAMES[p]}, attempt {a}, {words}", after, True)

    def readable(self, state: State, p: int, a: int) -> list[str]:
        """What a reader of the result may find: whatever was ever written, in any order (a FAILURE may become a SUCCESS
        and the other way round), or nothing, or a SUCCESS that proves nothing."""
        if not self.forever:
            return [state.results[self._at(p, a)]]
        at = 1 if self.one_slot else a
        attempts = range(1, self.attempts + 1) if self.one_slot else (at,)
        written = {v for v in VOTES[:3] for b in attempts if state.flight & self._bits(Item("store", b, p, v))}
        return ["", "bare", *sorted(written)]

    # ---- coordinator: decide

    def _decide(self, state: State, item: Item) -> Iterator[Step]:
        """The chain's last link: it brings every branch's proof."""
        journal, a = state.journal, item.attempt
        if journal.state == "preparing" and (journal.attempt == a or self.without is M.ANY_ATTEMPT):
            yield from self._counted(state, item, a, ("yes",) * len(BRANCHES))

    def _second_vote(self, state: State, item: Item) -> Iterator[Step]:
        """A decider that has read the first vote reads the other one, and counts."""
        for vote in self.readable(state, 1, item.attempt):
            yield from self._counted(state, item, item.attempt, (item.word, vote))

    def _votes(self, state: State, a: int) -> Iterator[tuple[str, ...]]:
        """The votes as a decider may read them, one after the other."""
        for votes in product(*(self.readable(state, p, a) for p in PARTICIPANTS)):
            yield tuple("yes" if v == "bare" and self.without is M.STATUS_ALONE else v for v in votes)

    def _counted(
        self, state: State, item: Item | None, a: int, votes: tuple[str, ...], local: str = ""
    ) -> Iterator[Step]:
        for decision in decisions(a, votes, local):
            sent = [Item("intend", a, word=decision)]
            journal = state.journal
            if self.without is M.OUTCOME_BEFORE_DECISION:
                sent += [Item("commit" if decision == "commit" else "rollback", a, p) for p in PARTICIPANTS]
            if self.without is M.LOCAL_CHANGE_FIRST and decision == "commit" and journal.state == "preparing":
                journal = journal._replace(local="applied")
            seen = ", ".join(f"{NAMES[p]} {vote or 'silent'}" for p, vote in enumerate(votes))
            words = f"a decider has counted for attempt {a}: {seen}{local and f', own change {local}'}: {decision}"
            yield Step(words, self._to(state, item, *sent, journal=journal))

    def _update(self, state: State, item: Item) -> Iterator[Step]:
        """The conditional update with the local change and the outcomes, in one local transaction. Whoever is too late
        changes nothing."""
        journal, a, decision = state.journal, item.attempt, item.word
        if journal.state != "preparing" and self.without is not M.DECIDED_TWICE:
            return
        if journal.attempt != a and self.without is not M.ANY_ATTEMPT:
            return
        if decision == "retry":
            if a < self.attempts and journal.state == "preparing":
                given_up = self._told(state, a, "rollback")._replace(attempt=a + 1, dispatched=False)
                yield Step(f"attempt {a} is given up", self._to(state, item, *self._once(given_up), journal=given_up))
            return
        if decision == "commit":
            for local in ("refused", "again"):
                yield from self._counted(state, item, a, ("yes",) * len(BRANCHES), local)
        said, local = ("committed", "applied") if decision == "commit" else ("aborted", "undone")
        told = self._told(state, a, "commit" if decision == "commit" else "rollback")
        decided = told._replace(state=said, local=local, dispatched=True)
        yield Step(f"DECIDED: {said} (attempt {a})", self._to(state, item, *self._once(decided), journal=decided))

    def _told(self, state: State, a: int, outcome: str) -> Journal:
        """The journal with `outcome` owed to every branch of the attempt, whatever it voted."""
        rows = [outcome if row else "" for row in state.journal.branches[a - 1]]
        words = {M.NO_ROLLBACK_AFTER_FAILURE: {"refused", "again"}, M.NO_ROLLBACK_AFTER_SILENCE: {""}}
        trusted = words.get(self.without, set()) if self.without else set()
        for p in PARTICIPANTS:
            if outcome == "rollback" and trusted & set(self.readable(state, p, a)):
                rows[p] = "rolled back"
        return self._with_branches(state.journal, a, tuple(rows))

    def _once(self, journal: Journal) -> list[Item]:
        """Outcomes that the decider itself sends, where recovery never will."""
        return self._owed(journal) if self.without is M.OUTCOMES_SENT_ONCE else []

    # ---- coordinator: recovery (and the same steps by whoever is at hand)

    def _look(self, state: State) -> Iterator[Step]:
        """What the rows say is to be done, done by anyone at any moment."""
        journal = state.journal
        if journal.settled:
            return
        owed = self._owed(journal)
        if self.without is not M.OUTCOMES_SENT_ONCE:
            yield from self._send(state, owed)
        if journal.state != "preparing":
            if not _unanswered(journal):
                settled = journal._replace(settled=True)
                yield Step(f"settled: {journal.state}", self._to(state, None, journal=settled))
        elif self.without is M.UNDECIDED_FORGOTTEN:
            return
        elif journal.dispatched:
            if not self.forever and self.without is not M.SILENCE_WAITS:
                vote = self.readable(state, 0, journal.attempt)[0]
                words = f"a decider reads {NAMES[0]}' vote of attempt {journal.attempt}: {vote or 'silent'}"
                yield Step(words, self._to(state, None, Item("seen", journal.attempt, word=vote)))
                return
            for votes in self._votes(state, journal.attempt):
                if self.without is not M.SILENCE_WAITS or {"refused", "again"} & {*votes}:
                    yield from self._counted(state, None, journal.attempt, votes)
        elif not owed or self.without is M.NEXT_BEFORE_SETTLED:
            yield from self._next_attempt(state)

    def _next_attempt(self, state: State) -> Iterator[Step]:
        a = state.journal.attempt
        rows = tuple(row or "open" for row in state.journal.branches[a - 1])
        journal = self._with_branches(state.journal, a, rows)._replace(dispatched=True)
        claimed = self._to(state, None, Item("publish", a), journal=journal)
        if self.one_slot:  # the same names again: the former attempt's fence has to go
            claimed = claimed._replace(slots=tuple(slot._replace(row="") for slot in claimed.slots))
        yield Step(f"attempt {a} is claimed for publishing", claimed)
        yield Step("the deadline is over", self._to(state, None, Item("intend", a, word="abort")))

    def _owed(self, journal: Journal) -> list[Item]:
        attempts = enumerate(journal.branches, start=1)
        return [Item(row, a, p) for a, rows in attempts for p, row in enumerate(rows) if row in _ANSWERS]

    def _send(self, state: State, owed: list[Item]) -> Iterator[Step]:
        for item in owed:
            p, a, outcomes, journal = item.participant, item.attempt, {item.kind}, state.journal
            if self.without is M.RESULTS_READ_AGAIN:
                outcomes = {"commit" if {*votes} == {"yes"} else "rollback" for votes in self._votes(state, a)}
            if self.without is M.SETTLED_WHEN_SENT:
                journal = self._answered(journal, a, p, _ANSWERS[item.kind])
            for outcome in sorted(outcomes):
                words = f"{outcome} is sent to {NAMES[p]}, attempt {a}"
                yield Step(words, self._to(state, None, Item(outcome, a, p), journal=journal))

    def _acknowledge(self, state: State, item: Item) -> Iterator[Step]:
        journal, p, a = state.journal, item.participant, item.attempt
        if journal.branches[a - 1][p] in _ANSWERS and item.word != "impossible":
            journal = self._answered(journal, a, p, _ANSWERS[journal.branches[a - 1][p]])
            done = journal.state != "preparing" and not _unanswered(journal)
            words = f"{NAMES[p]}, attempt {a}, has answered: {item.word}" + ("; settled" if done else "")
            yield Step(words, self._to(state, item, journal=journal._replace(settled=done)))

    def _answered(self, journal: Journal, a: int, p: int, word: str) -> Journal:
        rows = journal.branches[a - 1]
        return self._with_branches(journal, a, (*rows[:p], word, *rows[p + 1 :]))

    # ---- participant: outcomes

    def _commit(self, state: State, item: Item) -> Iterator[Step]:
        p, a = item.participant, item.attempt
        slot, here = self.slot(state, p, a), f"{NAMES[p]}, attempt {a}"
        if slot.work == "prepared":
            done = (p, a, Slot("done", "", slot.times + 1))
            yield Step(f"{here}: COMMIT PREPARED", self._to(state, item, Item("ack", a, p, "committed"), change=done))
        else:
            asks = self.without not in (M.COMMIT_ASKS_NO_ROW, M.REPEAT_RUNS_AGAIN)
            answer = "impossible" if asks and slot.row != "done" else "committed"
            words = f"{here}: nothing prepared to commit, the row says {slot.row or 'nothing'}"
            yield Step(words, self._to(state, item, Item("ack", a, p, answer)))

    def _rollback(self, state: State, item: Item) -> Iterator[Step]:
        """ROLLBACK PREPARED, then the tombstone, which waits for a branch that holds the row. The process may die in
        between; then the message has not been answered."""
        p, a = item.participant, item.attempt
        slot, here = self.slot(state, p, a), f"{NAMES[p]}, attempt {a}"
        if slot.work == "prepared":
            yield Step(f"{here}: ROLLBACK PREPARED", self._to(state, None, change=(p, a, slot._replace(work=""))))
            held = True
        else:
            held = bool(slot.work) and self.without is not M.BRANCH_ROW_LAST
        if self.without is M.NO_FENCE:
            if slot.work != "prepared":
                yield Step(f"{here}: no fence", self._to(state, item, Item("ack", a, p, "rolled back")))
        elif held and self.without is not M.FENCE_DOES_NOT_WAIT:
            if not self.forever and slot.work != "prepared":
                yield Step(f"{here}: the tombstone waited too long for the branch", self._to(state, item))
        else:
            row = slot.row or "tombstone"
            answer = "impossible" if row == "done" else "rolled back"
            fenced = (p, a, slot._replace(row=row))
            yield Step(f"{here}: fenced ({row})", self._to(state, item, Item("ack", a, p, answer), change=fenced))


def _unanswered(journal: Journal) -> bool:
    return any(row in ("open", *_ANSWERS) for rows in journal.branches for row in rows)
