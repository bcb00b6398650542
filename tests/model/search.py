"""Breadth first through every reachable state, and backwards from the quiet ones."""

from __future__ import annotations

import gc
import time
from array import array
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import chain
from typing import Any, Protocol

from . import forgetting, sharing
from .forgetting.machine import Machine as ForgettingMachine
from .forgetting.properties import ended
from .machine import Machine
from .mutations import Mutation
from .properties import Property, quiet
from .sharing.machine import Machine as SharingMachine
from .state import State, Step

EVERYTHING = frozenset(Property)


class Explored(Protocol):
    """A machine, whatever its states are."""

    def start(self) -> Any: ...
    def steps(self, state: Any) -> Iterator[Step]: ...
    def broken_by_step(self, before: Any, after: Any) -> Iterator[StrEnum]: ...
    def broken_in_state(self, state: Any) -> Iterator[StrEnum]: ...


@dataclass
class Graph:
    """What a search has met: states in the order of their discovery, from where, and over which faultless edges."""

    machine: Explored
    states: list[Any] = field(default_factory=list)
    number: dict[Any, int] = field(default_factory=dict)
    parents: array[int] = field(default_factory=lambda: array("q"))
    edges: array[int] = field(default_factory=lambda: array("l"))  #: from, to, from, to, …
    transitions: int = 0
    depth: int = 0

    def add(self, state: Any, parent: int) -> int:
        """The number of `state`, new or known."""
        known = self.number.setdefault(state, len(self.states))
        if known == len(self.states):
            self.states.append(state)
            self.parents.append(parent)
        return known

    def root(self, last: int) -> int:
        """Where a shortest way to state number `last` begins."""
        while self.parents[last] >= 0:
            last = self.parents[last]
        return last

    def trace(self, last: int) -> list[str]:
        """The steps, in words, on a shortest way to state number `last`."""
        words: list[str] = []
        while (before := self.parents[last]) >= 0:
            steps = self.machine.steps(self.states[before])
            words.append(next(step.words for step in steps if step.state == self.states[last]))
            last = before
        return words[::-1]


@dataclass(frozen=True)
class Report:
    """What came out of exploring one machine. `calm_states`: those of the second search, for liveness."""

    states: int
    transitions: int
    depth: int
    calm_states: int
    seconds: float
    broken: StrEnum | None = None
    trace: tuple[str, ...] = ()


class TooLarge(Exception):
    """The bounds are too wide for this memory."""


def explore(
    graph: Graph, roots: Iterable[Any], most: int, *, only: frozenset[StrEnum] = EVERYTHING, edges: bool = False
) -> tuple[StrEnum, list[str]] | None:
    """Meet every state that is reachable from `roots`. Stops at the first broken promise: which, and the trace."""
    machine, states = graph.machine, graph.states
    for root in roots:
        graph.add(root, -1)
    level_end, at = len(states), 0
    while at < len(states):
        if at == level_end:
            graph.depth, level_end = graph.depth + 1, len(states)
        before = states[at]
        for step in machine.steps(before):
            graph.transitions += 1
            new = len(states)
            to = graph.add(step.state, at)
            if edges and not step.fault:
                graph.edges.extend((at, to))
            broken = machine.broken_by_step(before, step.state)
            if to == new:
                broken = chain(broken, machine.broken_in_state(step.state))
            for which in broken:
                if which in only:
                    return which, [*graph.trace(at), step.words]
        at += 1
        if len(states) > most:
            raise TooLarge(f"more than {most:,} states")
    return None


def never_quiet(graph: Graph, is_quiet: Callable[[Any], bool] = quiet) -> int | None:
    """The first state from which no quiet state can be reached over faultless edges."""
    count, edges = len(graph.states), graph.edges
    first = array("l", [0]) * (count + 1)
    for to in edges[1::2]:
        first[to + 1] += 1
    for i in range(count):
        first[i + 1] += first[i]
    fill, sources = first[:], array("l", [0]) * (len(edges) // 2)
    for i in range(0, len(edges), 2):
        sources[fill[edges[i + 1]]] = edges[i]
        fill[edges[i + 1]] += 1
    reaches = bytearray(map(is_quiet, graph.states))
    todo = [i for i in range(count) if reaches[i]]
    while todo:
        at = todo.pop()
        for source in sources[first[at] : first[at + 1]]:
            if not reaches[source]:
                reaches[source] = 1
                todo.append(source)
    stuck = reaches.find(0)
    return None if stuck < 0 else stuck


def check(
    attempts: int,
    faults: int | None = None,
    without: Mutation | None = None,
    *,
    only: frozenset[Property] = EVERYTHING,
    most: int = 5_000_000,
) -> Report:
    """Explore the protocol, or a mutation of it, and check what is promised (or only the promises `only`)."""
    began = time.monotonic()
    with _no_garbage():
        graph = Graph(Machine(attempts, faults, without))
        found = explore(graph, [graph.machine.start()], most, only=only, edges=faults is not None)
        calm = graph
        if not found and Property.LIVE in only:
            if faults is None:
                calm = Graph(Machine(attempts, 0, without))
                found = _stuck(calm, _afterwards(graph, calm), graph, most)
            else:
                found = _stuck(calm, {}, graph, most)
    size = (len(graph.states), graph.transitions, graph.depth, 0 if calm is graph else len(calm.states))
    return Report(*size, time.monotonic() - began, *((found[0], tuple(found[1])) if found else ()))


def check_sharing(
    attempts: int,
    without: sharing.Mutation | None = None,
    *,
    holds: bool = False,
    only: frozenset[StrEnum] = frozenset(sharing.Property),
    most: int = 5_000_000,
) -> Report:
    """``check`` for transactions that share attempts, whose first branch is a hold if it `holds`."""
    began = time.monotonic()
    with _no_garbage():
        graph = Graph(SharingMachine(attempts, without, holds=holds or without in sharing.OF_HOLDS))
        found = explore(graph, [graph.machine.start()], most, only=only)
    size = (len(graph.states), graph.transitions, graph.depth, 0)
    return Report(*size, time.monotonic() - began, *((found[0], tuple(found[1])) if found else ()))


def check_forgetting(
    without: forgetting.Mutation | None = None,
    *,
    only: frozenset[StrEnum] = frozenset(forgetting.Property),
    most: int = 5_000_000,
) -> Report:
    """``check`` for a database that forgets."""
    began = time.monotonic()
    with _no_garbage():
        graph, calm = Graph(ForgettingMachine(without)), Graph(ForgettingMachine(without, calm=True))
        found = explore(graph, [graph.machine.start()], most, only=only)
        if not found and forgetting.Property.ENDS in only:
            left = {state._replace(flight=frozenset()): at for at, state in enumerate(graph.states)}
            explore(calm, left, most, only=frozenset(), edges=True)
            stuck = never_quiet(calm, ended)
            if stuck is not None:
                found = forgetting.Property.ENDS, [*_way(calm, left, graph, stuck), "… and it can't end any more"]
    size = (len(graph.states), graph.transitions, graph.depth, len(calm.states))
    return Report(*size, time.monotonic() - began, *((found[0], tuple(found[1])) if found else ()))


@contextmanager
def _no_garbage() -> Iterator[None]:
    """There are no cycles here, and millions of tuples to look through for them."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def _afterwards(graph: Graph, calm: Graph) -> dict[State, int]:
    """Everything that may be left of a state when all that is on its way is lost → the number of such a state."""
    left: dict[State, int] = {}
    for number, state in enumerate(graph.states):
        for remains in graph.machine.remains(state):
            left.setdefault(calm.machine.canonical(remains), number)
    return left


def _stuck(calm: Graph, roots: dict[State, int], graph: Graph, most: int) -> tuple[Property, list[str]] | None:
    """Whether some state of `calm`, explored from `roots` first, can never become quiet."""
    if roots:
        explore(calm, roots, most, edges=True, only=frozenset())
    stuck = never_quiet(calm)
    if stuck is None:
        return None
    return Property.LIVE, [*_way(calm, roots, graph, stuck), "… and no settled state can be reached any more"]


def _way(calm: Graph, roots: dict[Any, int], graph: Graph, stuck: int) -> Iterator[str]:
    if roots:
        yield from graph.trace(roots[calm.states[calm.root(stuck)]])
        yield "… all that is on its way is lost, every process dies; from here on nothing fails …"
    yield from calm.trace(stuck)
