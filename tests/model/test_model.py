"""The protocol's promises in every reachable state, within bounds that take seconds. ``make model`` has wider ones."""

from __future__ import annotations

from itertools import product

import pytest

from atomic_commit.errors import Conflict, Defect, Fenced, Impossible, Lost, Missing, Refused
from atomic_commit.votes import ballot_of

from .engine_votes import all_decisions, ballot, gid
from .machine import Machine
from .mutations import BREAKS, REDUNDANT, Mutation
from .properties import Property
from .search import Graph, check, explore


@pytest.mark.parametrize(("attempts", "faults"), [(1, None), (1, 1), (2, 0)])
def test_every_promise_holds_in_every_state(attempts: int, faults: int | None) -> None:
    report = check(attempts, faults)
    assert report.broken is None, f"{report.broken}:\n" + "\n".join(report.trace)
    assert report.states > 1_000


def test_every_promise_but_liveness_holds_over_three_attempts() -> None:
    report = check(3, None, only=frozenset(Property) - {Property.LIVE})
    assert report.broken is None, f"{report.broken}:\n" + "\n".join(report.trace)


def test_the_search_meets_both_decisions_retries_and_late_messages() -> None:
    graph = explored(Machine(2))
    ends = {(s.journal.state, s.journal.attempt) for s in graph.states if s.journal.settled}
    assert ends == {("committed", 1), ("committed", 2), ("aborted", 1), ("aborted", 2)}


@pytest.mark.parametrize(
    ("mutation", "promise"),
    [pytest.param(m, p, id=f"{m.name}-breaks-{p.name}") for m, promises in BREAKS.items() for p in promises],
)
def test_without_one_protection_a_promise_is_broken(mutation: Mutation, promise: Property) -> None:
    report = check(1 if promise is Property.LIVE else 2, None, mutation, only=frozenset({promise}))
    assert report.broken is promise
    assert report.trace


@pytest.mark.parametrize("mutation", REDUNDANT, ids=lambda mutation: mutation.name)
def test_a_second_protection_can_go(mutation: Mutation) -> None:
    assert check(2, None, mutation, only=frozenset(Property) - {Property.LIVE}).broken is None


def test_every_protection_is_taken_out_once() -> None:
    assert {*BREAKS, *REDUNDANT} == {*Mutation}
    assert not {*BREAKS} & {*REDUNDANT}
    assert {promise for promises in BREAKS.values() for promise in promises} == {*Property}


# ---- what the model leaves out may be left out


def explored(machine: Machine) -> Graph:
    graph = Graph(machine)
    assert explore(graph, [machine.start()], 1_000_000) is None
    return graph


def databases(graph: Graph) -> set[object]:
    return {(state.journal, state.slots) for state in graph.states}


def test_what_the_canonical_form_leaves_out_does_not_matter() -> None:
    assert databases(explored(Machine(1))) == databases(explored(Machine(1, reduce=False)))


@pytest.mark.parametrize(("attempts", "faults"), [(1, 1), (2, 0)])
def test_what_counted_faults_reach_is_reached_by_any_number_of_them(attempts: int, faults: int) -> None:
    assert databases(explored(Machine(attempts, faults))) <= databases(explored(Machine(attempts)))


@pytest.mark.parametrize(
    ("status", "result", "word"),
    [
        ("FAILURE", Missing("unknown_user", "There is none."), "refused"),
        ("FAILURE", Refused("no_room", "It is full."), "refused"),
        ("REVOKED", None, "refused"),
        ("FAILURE", Defect("ForeignKeyViolation", "no"), "refused"),
        ("FAILURE", Conflict("locked"), "again"),
        ("FAILURE", Lost("connection gone"), "again"),
        ("FAILURE", Fenced("over"), "again"),
        ("FAILURE", Impossible("tag"), "again"),
        ("FAILURE", None, "again"),
        ("SUCCESS", None, "bare"),
        ("STARTED", None, ""),
    ],
)
def test_every_vote_allows_no_more_than_the_models_word_for_it(status: str, result: object, word: str) -> None:
    """The model knows two kinds of no. Each real vote leads, at each attempt and beside each other vote, to decisions
    that the model's word for it may lead to as well (some clock permitting)."""
    for attempt, other in product((1, 2, 3, 4), ("yes", "refused", "again", "bare", "")):
        beside = ballot(1, attempt, other)
        real = all_decisions([ballot_of(gid(0, attempt), status, result), beside])
        assert real <= all_decisions([ballot(0, attempt, word), beside])
