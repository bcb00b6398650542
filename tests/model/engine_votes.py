"""The engine's own vote and decision tables, asked about what the model stores in its result backend."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import product
from uuid import UUID

from atomic_commit.errors import Conflict, Refused
from atomic_commit.limits import Limits
from atomic_commit.names import Gid
from atomic_commit.votes import Ballot, Decision, Situation, ballot_of, decision_of, no_ballot
from tests.installation import INSTALLATION

from .state import BRANCHES

_TRANSACTION = UUID("12345678-1234-4234-8234-123456789abc")
_LIMIT = Limits().failed_attempts


def gid(participant: int, attempt: int) -> Gid:
    """The identifier of a branch."""
    return Gid(INSTALLATION, "users.remove_user", _TRANSACTION, attempt, BRANCHES[participant])


def proofs(attempt: int, upto: int) -> dict[str, object]:
    """What the chain hands on once participants 0 … `upto` have prepared."""
    return {"prepared": {str(gid(p, attempt)): "its own" for p in range(upto + 1)}, "members": {}}


@cache
def ballot(participant: int, attempt: int, result: str) -> Ballot:
    """The vote that a stored result amounts to, or that the chain hands on ("yes")."""
    stored: dict[str, tuple[str, object]] = {
        "yes": ("SUCCESS", proofs(attempt, participant)),
        "bare": ("SUCCESS", {"prepared": {}, "members": {}}),
        "refused": ("FAILURE", Refused("no_room", "It is full.")),
        "again": ("FAILURE", Conflict("somebody was in the way")),
        "": ("PENDING", None),
    }
    return ballot_of(gid(participant, attempt), *stored[result])


@cache
def decisions(attempt: int, results: tuple[str, ...], local: str = "") -> tuple[str, ...]:
    """What may follow from the branches' results (and from a no of the coordinator's own change), whatever the clocks
    say. Waiting is no step."""
    ballots = [ballot(p, attempt, result) for p, result in enumerate(results)]
    if local:
        errors = {"refused": Refused("no", "No."), "again": Conflict("somebody was in the way")}
        ballots.append(no_ballot("users.remove_user", errors[local]))
    return tuple(sorted(str(decision) for decision in all_decisions(ballots) if decision is not Decision.WAIT))


def all_decisions(ballots: Sequence[Ballot]) -> set[Decision]:
    """The engine's decisions for every position of the two clocks, with failed attempts left or used up."""
    situations = product((1, _LIMIT), (False, True), (False, True))
    return {
        decision_of(
            ballots,
            Situation(
                failed_attempts=failed,
                patience_over=patience,
                deadline_over=deadline,
                failed_attempts_limit=_LIMIT,
            ),
        )
        for failed, patience, deadline in situations
    }
