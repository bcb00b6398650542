"""The promises of shared attempts in every reachable state, within bounds that take seconds."""

from __future__ import annotations

import pytest

from .search import Graph, check_sharing, explore
from .sharing import BREAKS, Mutation, Property
from .sharing.machine import Machine


@pytest.fixture(scope="module", params=[False, True], ids=["both-change", "the-first-holds"])
def graph(request: pytest.FixtureRequest) -> Graph:
    """Everything that one attempt each leads to."""
    graph = Graph(Machine(1, holds=request.param))
    broken = explore(graph, [graph.machine.start()], 1_000_000, only=frozenset(Property))
    assert broken is None, f"{broken[0]}:\n" + "\n".join(broken[1])
    return graph


def test_every_promise_holds_in_every_state(graph: Graph) -> None:
    assert len(graph.states) > 10_000


def test_the_search_meets_every_pair_of_decisions(graph: Graph) -> None:
    ends = {tuple(row.state for row in s.transactions) for s in graph.states if all(r.settled for r in s.transactions)}
    decisions = ("committed", "aborted")
    assert ends == {(one, other) for one in decisions for other in decisions}


def test_the_search_meets_shared_attempts_that_leave_one_out(graph: Graph) -> None:
    """And commit the other, who may be the follower."""
    committed_alone = {
        row.key.leader == t
        for state in graph.states
        for t, row in enumerate(state.transactions)
        if row.state == "committed" and state.transactions[1 - t].key == row.key
        if state.transactions[1 - t].state != "committed"
    }
    assert committed_alone == {True, False}


def test_only_behind_a_hold_a_later_branch_leaves_one_out(graph: Graph) -> None:
    """What the first participant holds for it is committed all the same, and is nothing."""
    left_out_later = any(
        state.transactions[t].state == "aborted" and t in slots[0].inside and slots[0].row == slots[1].row == "done"
        for state in graph.states
        for slots in state.slots
        for t in (0, 1)
    )
    assert left_out_later is (graph.machine.changing == (1,))


def test_what_the_canonical_form_leaves_out_does_not_matter() -> None:
    whole, reduced = Graph(Machine(1, reduce=False)), Graph(Machine(1))
    for graph in (whole, reduced):
        assert explore(graph, [graph.machine.start()], 1_000_000, only=frozenset(Property)) is None
    assert databases(whole) == databases(reduced)


def databases(graph: Graph) -> set[object]:
    return {(state.transactions, state.branches, state.slots) for state in graph.states}


@pytest.mark.parametrize(
    ("mutation", "promise"),
    [pytest.param(m, p, id=f"{m.name}-breaks-{p.name}") for m, promises in BREAKS.items() for p in promises],
)
def test_without_one_protection_a_promise_is_broken(mutation: Mutation, promise: Property) -> None:
    report = check_sharing(2, mutation, only=frozenset({promise}))
    assert report.broken is promise
    assert report.trace


def test_every_protection_is_taken_out_and_every_promise_broken_once() -> None:
    assert {*BREAKS} == {*Mutation}
    assert {promise for promises in BREAKS.values() for promise in promises} == {*Property}
