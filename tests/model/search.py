"""Breadth first through every reachable state, and backwards from the quiet ones."""

from __future__ import annotations

import time
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from .machine import Machine
from .mutations import Mutation
from .properties import Property, broken_by_step, broken_in_state, quiet
from .state import State


@dataclass
class Graph:
    """What a search has met: states in the order of their discovery, from where, and over which edges."""

    machine: Machine
    number: dict[State, int] = field(default_factory=dict)
    states: list[State] = field(default_factory=list)
    parents: array[int] = field(default_factory=lambda: array("q"))
    edges: array[int] = field(default_factory=lambda: array("q"))  #: from, to, from, to, …
    transitions: int = 0
    depth: int = 0

    def add(self, state: State, parent: int) -> int:
        """The number of `state`, new or known."""
        known = self.number.setdefault(state, len(self.states))
        if known == len(self.states):
            self.states.append(state)
            self.parents.append(parent)
        return known

    def trace(self, last: int) -> Iterator[str]:
        """The steps, in words, on a shortest way to state number `last`."""
        way = [last]
        while self.parents[way[-1]] >= 0:
            way.append(self.parents[way[-1]])
        way.reverse()
        for before, after in zip(way, way[1:], strict=False):
            yield next(s.words for s in self.machine.steps(self.states[before]) if s.state == self.states[after])


@dataclass(frozen=True)
class Report:
    """What came out of exploring one machine."""

    states: int
    transitions: int
    depth: int
    live_states: int
    seconds: float
    broken: Property | None = None
    trace: tuple[str, ...] = ()


class TooLarge(Exception):
    """The bounds are too wide for this memory."""


def explore(graph: Graph, roots: Iterable[State], most: int, *, keep_edges: bool = False) -> tuple[Property, int] | None:
    """Meet every state that is reachable from `roots`. Stops at the first broken promise: (which, state number)."""
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
            known = len(states)
            to = graph.add(step.state, at)
            if keep_edges and not step.fault:
                graph.edges.extend((at, to))
            broken = broken_by_step(machine, before, step.state)
            if to == known:
                broken = broken or broken_in_state(machine, step.state)
            if broken:
                return broken, graph.add(step.state, at) if to != known else to
        at += 1
        if len(states) > most:
            raise TooLarge(f"more than {most} states")
    return None


def never_quiet(graph: Graph) -> int | None:
    """The first state from which no quiet state can be reached."""
    count = len(graph.states)
    first = array("q", bytes(8 * (count + 1)))
    for to in graph.edges[1::2]:
        first[to + 1] += 1
    for i in range(count):
        first[i + 1] += first[i]
    fill, before = array("q", first), array("q", bytes(4 * len(graph.edges)))
    for i in range(0, len(graph.edges), 2):
        to = graph.edges[i + 1]
        before[fill[to]] = graph.edges[i]
        fill[to] += 1
    reaches = bytearray(map(quiet, graph.states))
    todo = [i for i in range(count) if reaches[i]]
    while todo:
        at = todo.pop()
        for source in before[first[at] : first[at + 1]]:
            if not reaches[source]:
                reaches[source] = 1
                todo.append(source)
    return next((i for i in range(count) if not reaches[i]), None)


def check(attempts: int, without: Mutation | None = None, *, most: int = 5_000_000, live: bool = True) -> Report:
    """Explore the protocol (or the mutation) within the bounds, and check everything that is promised."""
    began = time.monotonic()
    safe = Graph(Machine(attempts, None, without))
    found = explore(safe, [safe.machine.canonical(safe.machine.start())], most)
    calm = Graph(Machine(attempts, 0, without))
    trace: list[str] = []
    if found:
        trace = [*safe.trace(found[1])]
    elif live:
        cores: dict[State, int] = {}
        for number, state in enumerate(safe.states):
            for core in safe.machine.remains(state):
                cores.setdefault(calm.machine.canonical(core), number)
        explore(calm, cores, most, keep_edges=True)
        stuck = never_quiet(calm)
        if stuck is not None:
            found, root = (Property.LIVE, stuck), stuck
            while calm.parents[root] >= 0:
                root = calm.parents[root]
            fates = ["… every message is lost, every process dies; from here on nothing fails …", *calm.trace(stuck)]
            trace = [*safe.trace(cores[calm.states[root]]), *fates, "… and no settled state can be reached any more"]
    broken = found[0] if found else None
    size = (len(safe.states), safe.transitions, safe.depth, len(calm.states))
    return Report(*size, time.monotonic() - began, broken, tuple(trace))
