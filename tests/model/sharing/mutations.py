"""The sharing of attempts with one protection taken out: what the model must notice."""

from __future__ import annotations

from enum import StrEnum

from .properties import Property as P


class Mutation(StrEnum):
    """One protection less, in words."""

    DROPPED_ALL_THE_SAME = "whom the first branch has left out is committed with the others"
    DROPPED_LATER = "a later branch leaves out who says no, though the first one was no hold"
    HOLD_THAT_WRITES = "what is declared a hold changes something all the same"
    FIRST_COME_FIRST_DECIDED = "members are decided in local transactions of their own, each telling the branches"
    DROPPED_GOES_AT_ONCE = "whoever goes again does so before the former attempt is settled"
    RESENT_WITH_OTHERS = "an attempt that is sent again takes those along who wait"
    NAMED_BY_THE_LEADER = "an attempt's name does not tell which of the leader's attempts it is"
    REFUSED_BESIDE_OTHERS = "a refusal beside others that do not commit is final"
    FOLLOWERS_UNSETTLED = "the last answer settles the leader only"
    ANY_ATTEMPT = "the deciding update does not ask whether its members are still in the attempt"
    FENCE_DOES_NOT_WAIT = "the tombstone does not wait for a branch that runs"


#: mutation → the promises that it breaks, each of which the search must find broken
BREAKS: dict[Mutation, tuple[P, ...]] = {
    Mutation.DROPPED_ALL_THE_SAME: (P.PROOF, P.ATOMIC, P.NOTHING_LEFT),
    Mutation.DROPPED_LATER: (P.ATOMIC,),
    Mutation.HOLD_THAT_WRITES: (P.ATOMIC,),
    Mutation.FIRST_COME_FIRST_DECIDED: (P.ONE_DECISION, P.ATOMIC),
    Mutation.DROPPED_GOES_AT_ONCE: (P.NO_OVERLAP, P.NOTHING_LEFT),
    Mutation.RESENT_WITH_OTHERS: (P.PROOF, P.ATOMIC),
    Mutation.NAMED_BY_THE_LEADER: (P.PROOF, P.ATOMIC),
    Mutation.REFUSED_BESIDE_OTHERS: (P.JUST,),
    Mutation.FOLLOWERS_UNSETTLED: (P.LIVE,),
    Mutation.ANY_ATTEMPT: (P.PROOF, P.ATOMIC, P.ONE_DECISION, P.POSSIBLE),
    Mutation.FENCE_DOES_NOT_WAIT: (P.NO_LATE_PREPARE, P.NOTHING_LEFT),
}

#: Mutations of attempts whose first branch is a hold.
OF_HOLDS = frozenset({Mutation.HOLD_THAT_WRITES})
