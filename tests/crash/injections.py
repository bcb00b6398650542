"""Every injection of the sweep: a point, an action, what the shop does meanwhile, and which delivery is hit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from atomic_commit.testing.failpoints import FAILPOINTS

KINDS = ("remove_user", "cancel_order", "place_order")
#: commit; refused by the last branch; retried, because a first attempt fails for no reason of its own.
ENDINGS = ("commit", "refusal", "retry")
#: The first visit of the point, or the second one after every message of the transaction was delivered twice.
DELIVERIES = ("first", "again")
#: Longer than the patience, so that whoever stops wakes up in a world that has gone on without it.
LONG = 4
#: How many others share the attempt in the sweep of shared ones.
COMPANY = 3

ACTIONS = ("kill", "kill-group", "raise", "drop", f"stop {LONG}", f"delay {LONG}")


@dataclass(frozen=True)
class Injection:
    """One thing that is done to the shop, and when."""

    point: str
    action: str
    kind: str
    ending: str
    delivery: str = "first"
    #: so many other transactions of the kind, all of which can commit, are in the same attempt
    company: int = 0

    def __str__(self) -> str:
        company = f", with {self.company} others" if self.company else ""
        return f"{self.action} at {self.point}, {self.kind}, {self.ending}, {self.delivery} delivery{company}"


#: Kinds whose refusing branch has nothing but holds before it.
_GO_ON = ("cancel_order", "place_order")


def _can_be_reached(one: Injection) -> bool:
    """Leave out what no run can reach; that the rest really fires is asserted by the sweep for first deliveries."""
    step = one.point.partition(".")[0]
    if one.company:
        if step == "begin" or one.point == "attempt.before_claim" or one.delivery == "again":
            return False  # they are past these when they stand in line
        if step in ("rollback", "give_up") and one.kind in _GO_ON and one.ending == "refusal":
            return False  # who is refused is dropped, and the others go on
        if step == "attempt":  # made for them when they are let go, whatever becomes of it
            return one.action != "drop" or one.point in _WITH_CONNECTION
        if step == "commit" or one.point.startswith("decide."):  # at the latest by the others, once one was refused
            return one.action != "drop" or one.point in _WITH_CONNECTION
    if step in ("rollback", "give_up") and one.ending == "commit":
        return False
    if (step == "attempt" or one.point in ("sweep.after_claim", "sweep.after_look")) and (one.ending != "retry"):
        return False
    if step in ("commit",) and one.ending == "refusal":
        return False
    if one.point in ("decide.before_update", "decide.after_update", "decide.before_commit", "decide.after_commit"):
        return one.ending != "refusal"
    if one.delivery == "again" and step in ("begin", "sweep", "attempt", "give_up"):
        return False
    return not (one.action == "drop" and one.point not in _WITH_CONNECTION)


#: The points that have a database connection at hand to be cut.
_WITH_CONNECTION = frozenset(
    {
        "begin.before_accept",
        "begin.before_commit",
        "prepare.before_branch_row",
        "prepare.after_branch_row",
        "prepare.after_function",
        "decide.before_update",
        "decide.after_update",
        "decide.before_commit",
        "give_up.before_update",
        "give_up.before_commit",
        "acknowledge.before_commit",
        "attempt.before_claim",
        "attempt.before_commit",
        "rollback.before_tombstone",
    }
)


def all_injections() -> Iterator[Injection]:
    """The whole sweep, in an order that spreads the points (so that a sweep cut short has seen them all)."""
    for delivery, ending, kind, action in product(DELIVERIES, ENDINGS, KINDS, ACTIONS):
        for point in FAILPOINTS:
            one = Injection(point, action, kind, ending, delivery)
            if _can_be_reached(one):
                yield one


def shared_injections() -> Iterator[Injection]:
    """The sweep of attempts that several transactions share."""
    for ending, kind, action in product(ENDINGS, KINDS, ACTIONS):
        for point in FAILPOINTS:
            one = Injection(point, action, kind, ending, company=COMPANY)
            if _can_be_reached(one):
                yield one


def short_sweep() -> Iterator[Injection]:
    """Every point killed once, each kind of transaction in its turn, every other attempt a shared one."""
    for number, point in enumerate(FAILPOINTS):
        kinds = KINDS[number % 3 :] + KINDS[: number % 3]
        companies = (COMPANY, 0) if number % 2 else (0,)
        candidates = (
            Injection(point, "kill", kind, ending, company=company)
            for company in companies
            for ending in ENDINGS
            for kind in kinds
        )
        yield next(one for one in candidates if _can_be_reached(one))
