"""The promises of databases that forget, in every reachable state."""

from __future__ import annotations

import pytest

from .forgetting import BREAKS, REDUNDANT, Mutation, Property
from .forgetting.machine import Machine
from .forgetting.state import ALL, COORDINATOR, PARTICIPANTS
from .search import Graph, check_forgetting, explore


def test_every_promise_holds_in_every_state() -> None:
    graph = Graph(Machine())
    broken = explore(graph, [graph.machine.start()], 1_000_000, only=frozenset(Property))
    assert broken is None, f"{broken[0]}:\n" + "\n".join(broken[1])
    ends = {(state.journal.state, state.forgot) for state in graph.states}
    assert ends >= {(word, who) for word in ("committed", "aborted") for who in (None, ALL, COORDINATOR, *PARTICIPANTS)}
    assert ("none", COORDINATOR) in ends, "it forgets also that it has accepted"
    forward = [state for state in graph.states if state.forgot == COORDINATOR and state.journal.quarantined]
    assert len(forward) < len(graph.states) / 100, "most of what a coordinator forgets is found again"


#: Those that are found in seconds; the others are for ``make model``.
_SOON = [
    (Mutation.NOBODY_ASKED, Property.ATOMIC),
    (Mutation.OLD_EPOCH, Property.ATOMIC),
    (Mutation.NO_PROMISE, Property.ATOMIC),
    (Mutation.ONE_IS_ENOUGH, Property.ATOMIC),
    (Mutation.PROOF_IGNORED, Property.ATOMIC),
    (Mutation.DECIDED_WHILE_ASKING, Property.ATOMIC),
    (Mutation.NUMBER_GIVEN_TWICE, Property.ATOMIC),
]


@pytest.mark.parametrize(
    ("mutation", "promise"), [pytest.param(m, p, id=f"{m.name}-breaks-{p.name}") for m, p in _SOON]
)
def test_without_one_rule_a_promise_is_broken(mutation: Mutation, promise: Property) -> None:
    assert promise in BREAKS[mutation]
    report = check_forgetting(mutation, only=frozenset({promise}))
    assert report.broken is promise
    assert report.trace


def test_every_rule_is_taken_out_once() -> None:
    assert {*BREAKS, *REDUNDANT} == {*Mutation}
    assert not {*BREAKS} & {*REDUNDANT}
