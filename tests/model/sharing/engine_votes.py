"""The engine's own ballots and decisions for the members of a shared attempt."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from functools import cache
from itertools import product
from types import SimpleNamespace
from typing import Any, NamedTuple
from uuid import UUID

from atomic_commit.coordinator.members import refused_beside
from atomic_commit.errors import Conflict, MembersSaidNo, Refused
from atomic_commit.limits import Limits
from atomic_commit.names import Gid
from atomic_commit.votes import (
    Ballot,
    Cause,
    Decision,
    Situation,
    Vote,
    ballot_of,
    ballots_of_member,
    decision_of,
    no_ballot,
)
from tests.installation import INSTALLATION

from ..state import BRANCHES
from .state import Key, Members, Noes, Result

_IDS = tuple(UUID(f"{number:08}-1234-4234-8234-123456789abc") for number in range(2))
_LIMIT = Limits().failed_attempts
_ERRORS = {"refused": Refused("no_room", "It is full."), "again": Conflict("somebody was in the way")}


class Verdict(NamedTuple):
    """What a decider writes down for an attempt: who is committed, who is aborted, who goes again. `wronged`: those of
    the aborted that were refused beside others, none of which commits."""

    committed: Members
    aborted: Members
    again: Members
    wronged: Members


@cache
def ballot(key: Key, participant: int, result: Result) -> Ballot:
    """The vote that a stored result, or what the chain has handed on, amounts to."""
    gids = [Gid(INSTALLATION, "users.remove_user", _IDS[key.leader], key.number, branch) for branch in BRANCHES]
    proof = {
        "prepared": {str(gid): "its own" for gid in gids[: participant + 1]},
        "members": {str(_IDS[member]): {} for member in result.handed.members},
        "dropped": _causes(BRANCHES[0], result.handed.dropped),
    }
    stored: dict[str, tuple[str, object]] = {
        "": ("PENDING", None),
        "yes": ("SUCCESS", proof),
        "bare": ("SUCCESS", {"prepared": {}, "members": {}, "dropped": {}}),
        "refused": ("FAILURE", _ERRORS["refused"]),
        "again": ("FAILURE", _ERRORS["again"]),
        "noes": ("FAILURE", MembersSaidNo(_causes(BRANCHES[participant], result.noes))),
    }
    return ballot_of(gids[participant], *stored[result.status])


def _causes(branch: str, noes: Noes) -> dict[str, dict[str, Any]]:
    return {str(_IDS[member]): no_ballot(branch, _ERRORS[no]).as_cause() for member, no in noes}


@cache
def verdicts(
    key: Key, members: Members, results: tuple[Result, ...], local: str = "", *, without: str = ""
) -> tuple[Verdict, ...]:
    """What may be written down about an attempt with these results (and this no of the coordinator's own change),
    whatever the clocks say. `without`: "drops" takes a branch's yes as one for all; "beside" takes a refusal beside
    others as final."""
    ballots = [ballot(key, participant, result) for participant, result in enumerate(results)]
    return tuple(sorted(set(_verdicts(members, ballots, local, without))))


def _verdicts(members: Members, ballots: list[Ballot], local: str, without: str) -> Iterator[Verdict]:
    shared = len(members) > 1
    for patience, failed, *deadlines in product((False, True), (1, _LIMIT), *[(False, True)] * len(members)):
        situations = {
            member: Situation(0 if shared else failed, patience, deadline, _LIMIT)
            for member, deadline in zip(members, deadlines, strict=True)
        }
        decisions = _decisions(ballots, situations, without)
        counted = ballots
        if Decision.COMMIT in decisions.values():
            if not local:
                yield _verdict(decisions)
                # The abort function of one that is left out fails: that one goes again.
                yield _verdict({m: Decision.RETRY if d is Decision.ABORT else d for m, d in decisions.items()})
                continue
            no = no_ballot("users.remove_user", Exception("a fault") if shared else _ERRORS[local])
            counted = [*ballots, no]
            decisions = _decisions(counted, situations, without)
        elif local:
            continue
        if Decision.WAIT in decisions.values():
            continue
        spared = {} if without == "beside" else _spared(members, counted)
        yield _verdict({**decisions, **spared}, _refused_by_a_yes(members, counted))
        if shared:  # likewise
            yield _verdict(dict.fromkeys(members, Decision.RETRY))


def _decisions(ballots: Sequence[Ballot], situations: dict[int, Situation], without: str) -> dict[int, Decision]:
    return {
        member: decision_of(ballots if without == "drops" else ballots_of_member(ballots, str(_IDS[member])), situation)
        for member, situation in situations.items()
    }


def _spared(members: Members, ballots: Sequence[Ballot]) -> dict[int, Decision]:
    attempt: Any = SimpleNamespace(members=[SimpleNamespace(id=_IDS[member]) for member in members])
    return {_IDS.index(id): decision for id, decision in refused_beside(attempt, ballots).items()}


def _refused_by_a_yes(members: Members, ballots: Sequence[Ballot]) -> set[int]:
    refused = {
        member
        for ballot in ballots
        for member, no in ballot.members
        if ballot.vote is Vote.YES and no.cause is Cause.REFUSED
    }
    return {member for member in members if str(_IDS[member]) in refused}


def _verdict(decisions: dict[int, Decision], refused_beside: Set[int] = frozenset()) -> Verdict:
    def those(decision: Decision) -> Members:
        return tuple(sorted(member for member, met in decisions.items() if met is decision))

    aborted = those(Decision.ABORT)
    wronged = tuple(member for member in aborted if member in refused_beside)
    return Verdict(those(Decision.COMMIT), aborted, those(Decision.RETRY), wronged)
