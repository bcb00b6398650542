"""What is lost for good where one service comes back to an earlier moment than the others. Functions of rows."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from .states import Attempt, State

#: Branches that change nothing: they only hold what others must not change until the outcome.
HOLDS = frozenset({"users.hold_active_user"})


@dataclass(frozen=True, order=True)
class Loss:
    """One committed branch that has lost its other half.

    ``transaction`` leads the attempt. ``lost``: "branch", the coordinator has it committed and the participant
    `service` has forgotten the branch; "transaction", the participant has done the branch and the coordinator `service`
    has forgotten who asked for it. ``members``: the transactions of the attempt that it concerns.
    """

    transaction: str
    attempt: int
    branch: str
    lost: str
    service: str
    members: frozenset[str] = field(default=frozenset(), compare=False)

    def __str__(self) -> str:
        others = self.members - {self.transaction}
        of_others = f", of {_listed(self.members)}" if others else ""
        which = f"{self.branch} of {self.transaction}, attempt {self.attempt}{of_others}"
        return f"{self.service} has lost the {self.lost}: {which}"


def expected_losses(at_point: Mapping[str, State], earlier: State, older: str) -> set[Loss]:
    """What must be lost when all services are back at one point, as they are in `at_point`, but `older`, which is as in
    `earlier`.

    What is prepared in `earlier` is not lost: its coordinator still knows the decision. What has been begun there is
    not lost either, if any branch of it is done: that proves the decision. And what nobody has done yet is not lost for
    one side alone: it is as if it had never been.
    """
    lost: set[Loss] = set()
    done = {done for service, state in at_point.items() if service != older for done in state.done()}
    for coordinator, state in at_point.items():
        for attempt, members in state.committed().items():
            branches = [branch for branch in state.told(attempt) if branch not in HOLDS]
            if coordinator == older:
                forgotten = frozenset(members) - earlier.journal().keys()
                if forgotten and any((attempt, branch) in done for branch in state.told(attempt)):
                    lost |= {Loss(*attempt, branch, "transaction", older, forgotten) for branch in branches}
            else:
                lost |= {
                    Loss(*attempt, branch, "branch", older, frozenset(members))
                    for branch in branches
                    if service_of(branch) == older and not _stands(earlier, attempt, branch)
                }
    return lost


def visible_losses(states: Mapping[str, State], older: str) -> set[Loss]:
    """The halves without their other half that stand in the rows: who has looked at nothing else would name these.

    What is prepared is neither done nor lost: it is in doubt.
    """
    committed = {attempt: members for state in states.values() for attempt, members in state.committed().items()}
    told = {
        (attempt, branch)
        for state in states.values()
        for attempt in state.committed()
        for branch in state.told(attempt)
        if branch not in HOLDS
    }
    done = {(attempt, branch) for state in states.values() for attempt, branch in state.done() if branch not in HOLDS}
    in_doubt = {branch for state in states.values() for branch in _prepared(state)}
    return {
        Loss(*attempt, branch, "branch", service_of(branch), frozenset(committed[attempt]))
        for attempt, branch in told - done - in_doubt
    } | {Loss(*attempt, branch, "transaction", older) for attempt, branch in done - told}


def differences(expected: Collection[Loss], named: Collection[Loss], by: str) -> list[str]:
    """In words, what `by` has not named, or named though it is not lost, or named for other members."""
    of_whom = {loss: loss.members for loss in named}
    return [
        *(f"{by} does not say that {loss}" for loss in sorted(set(expected) - set(named))),
        *(f"{by} says, and it is not so, that {loss}" for loss in sorted(set(named) - set(expected))),
        *(
            f"{by} says that it concerns {_listed(of_whom[loss])}, and it concerns {_listed(loss.members)}: {loss}"
            for loss in sorted(set(expected))
            if loss.members and of_whom.get(loss) and loss.members != of_whom[loss]
        ),
    ]


def service_of(branch: str) -> str:
    return branch.partition(".")[0]


def _stands(state: State, attempt: Attempt, branch: str) -> bool:
    return (attempt, branch) in state.done() | _prepared(state)


def _prepared(state: State) -> set[tuple[Attempt, str]]:
    gids = (gid.split(":") for gid in state.prepared)
    return {((transaction, int(number)), branch) for _, _, transaction, number, branch in gids}


def _listed(ids: Iterable[str]) -> str:
    return ", ".join(sorted(ids))
