"""How one contender is measured: at saturation, one at a time, and at half of saturation.

Each measurement removes users of its own, waits until nothing is under way any more, and looks whether the databases
are as they must be. What is not right is in `wrong`, and has no figures.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from benchmarks.contenders.base import Contender
from benchmarks.counters import Counts, MemoryWatch, used
from benchmarks.figures import percentile
from benchmarks.load import Done
from benchmarks.options import Options
from benchmarks.stock import ORDERS, Stock

_SETTLES_WITHIN = 120.0
#: So many for a first guess of how fast it is, and to have everything warm.
_WARM_UP = 20


@dataclass
class Measured:
    """What became of a number of removals."""

    #: what the clients were answered
    done: Done
    #: what was not as it must be, a sentence each
    wrong: list[str]
    #: the counters at its beginning and its end
    before: Counts
    after: Counts
    #: WAL flushes; None: not counted
    flushes: int | None
    #: figure's name → megabytes
    peak: dict[str, float]
    #: when the last one was done, by the monotonic clock
    ended: float

    @property
    def rate(self) -> float:
        """Removals a second."""
        return len(self.done.answers) / (self.ended - self.done.began)

    def costs(self) -> dict[str, float | None]:
        """Per transaction (processor time: per thousand) what it took, and the most memory there was."""
        count = len(self.done.answers)
        flushes = None if self.flushes is None else self.flushes / count
        clients = {"CPU s/1000, clients": 1000 * self.done.cpu / count}
        return {**used(self.before, self.after, count), "WAL flushes": flushes, **clients, **self.peak}

    def latencies(self, when: str) -> dict[str, float]:
        return {f"p{p} ms, {when}": 1000 * percentile(self.done.latencies, p) for p in (50, 99)}


class Bench:
    """One running contender and the databases under it."""

    def __init__(self, contender: Contender, options: Options) -> None:
        self.contender, self._options = contender, options
        self.stock: Stock = contender.stock
        self._counters = contender.counters
        self.stock.add_products()
        self.wrong: list[str] = []

    def saturated(self) -> tuple[Measured, int]:
        """At the number of clients that is best for it. Returns that as well."""
        guess = self.remove(_WARM_UP, min(self._options.clients)).rate
        rates: dict[int, float] = {}
        choices = self._options.clients if self.contender.most_clients is None else (self.contender.most_clients,)
        for clients in choices:
            # so many that all clients are busy most of the time
            count = max(3 * clients, round(guess * self._options.probe))
            rates[clients] = guess = self.remove(count, clients).rate
        best = max(rates, key=rates.__getitem__)
        count = max(3 * best, round(rates[best] * self._options.seconds))
        return self.remove(count, best, exactly=True), best

    def remove(self, count: int, clients: int, rate: float | None = None, *, exactly: bool = False) -> Measured:
        """`exactly`: WAL flushes too, for which the servers need silence before and after."""
        users = self.stock.add_users(count) if self.contender.removes else list(range(count))
        expected = self.stock.expected_after_removal(users) if self.contender.removes else {}
        self.contender.prepare(users)
        flushed = self._flushes(exactly)
        before = self._counters.read()
        with MemoryWatch(self._counters.memory) as watch:
            done = self.contender.remove(users, clients, rate)
            wrong = self.contender.settle(_SETTLES_WITHIN)
            # What was accepted only is done when all is settled.
            ended = time.monotonic() if done.words["202"] else done.ended
        after = self._counters.read()
        flushes = self._flushes(exactly)
        wrong += self._wrong(users, expected, done)
        self.wrong += wrong
        if self.contender.clients_are_its_own:
            after.cpu["own"] += done.cpu
        between = None if flushes is None or flushed is None else flushes - flushed
        return Measured(done, wrong, before, after, between, watch.figures(), ended)

    def refuse(self) -> None:
        """A removal that the last service refuses leaves everything as it was; what can't do that is no match."""
        users = self.stock.add_users(1)
        self.stock.fill_warehouse()
        before = self.stock.seen(users[0])
        self.contender.prepare(users)
        words = self.contender.remove(users, 1).words
        self.wrong += self.contender.settle(_SETTLES_WITHIN)
        if words.keys() & self.contender.done or self.stock.seen(users[0]) != before:
            self.wrong.append(f"refused: {dict(words)}, from {before} to {self.stock.seen(users[0])}")
        self.wrong += self.stock.prepared()

    def _wrong(self, users: list[int], expected: dict[int, int], done: Done) -> list[str]:
        wrong = self.stock.wrong_after_removal(users, ORDERS, expected) if self.contender.removes else []
        if len(done.answers) != len(users):
            wrong.append(f"{len(done.answers)} answers for {len(users)} requests")
        if set(done.words) - self.contender.done:
            wrong.append(f"answers: {dict(done.words)}")
        return wrong

    def _flushes(self, exactly: bool) -> int | None:
        if not exactly or not self._options.settle:
            return None
        time.sleep(self._options.settle)
        return self._counters.flushes()


def costs_at(when: str, costs: dict[str, float | None]) -> dict[str, float | None]:
    """Only what the servers counted, named by when."""
    counted = ("SQL statements", "WAL flushes", "Redis commands")
    return {f"{name}, {when}": costs[name] for name in counted}
