"""The protocol with one protection taken out: what the model must notice."""

from __future__ import annotations

from enum import StrEnum

from .properties import Property as P


class Mutation(StrEnum):
    """One protection less, in words."""

    NO_FENCE = "rollback leaves no tombstone"
    FENCE_DOES_NOT_WAIT = "the tombstone does not wait for a branch that runs or is prepared"
    NO_ROLLBACK_AFTER_FAILURE = "a branch that voted no is taken as not prepared: no rollback is sent to it"
    NO_ROLLBACK_AFTER_SILENCE = "a branch that was silent is taken as not prepared: no rollback is sent to it"
    DECIDED_TWICE = "the deciding update is not conditional on the state"
    ANY_ATTEMPT = "the deciding update is not conditional on the attempt"
    RESULTS_READ_AGAIN = "outcomes follow from the results at the time of sending, not from the journal"
    OUTCOME_BEFORE_DECISION = "outcomes are sent before the decision is committed"
    LOCAL_CHANGE_FIRST = "the coordinator's own change is committed before the decision, not with it"
    STATUS_ALONE = "SUCCESS is a yes, whatever the result says"
    TAG_UNCHECKED = "PREPARE TRANSACTION answered with ROLLBACK is taken as prepared"
    REPEAT_SAYS_YES = "a repeated branch message that meets the held row says yes without the first run's result"
    REPEAT_RUNS_AGAIN = "no branch row is in the way of a repeated branch message: it runs again"
    BRANCH_ROW_LAST = "the branch row is inserted after the business function, not before"
    SAME_IDENTIFIERS = "all attempts share gid, task id and branch row"
    NEXT_BEFORE_SETTLED = "the next attempt goes out before the former one is rolled back"
    SETTLED_WHEN_SENT = "an outcome counts as answered when it is sent"
    UNDECIDED_FORGOTTEN = "recovery does not look at undecided transactions"
    OUTCOMES_SENT_ONCE = "outcomes are sent by the decider only, never again"
    SILENCE_WAITS = "silence is waited out for ever: no patience, no deadline"
    COMMIT_ASKS_NO_ROW = "commit takes 'does not exist' as done, without asking the branch row"


#: mutation → the promises that it breaks, each of which the search must find broken
BREAKS: dict[Mutation, tuple[P, ...]] = {
    Mutation.NO_FENCE: (P.NO_LATE_PREPARE, P.NOTHING_LEFT),
    Mutation.FENCE_DOES_NOT_WAIT: (P.NO_LATE_PREPARE, P.NOTHING_LEFT),
    Mutation.NO_ROLLBACK_AFTER_FAILURE: (P.NOTHING_LEFT,),
    Mutation.NO_ROLLBACK_AFTER_SILENCE: (P.NOTHING_LEFT,),
    Mutation.DECIDED_TWICE: (P.ONE_DECISION, P.ATOMIC),
    Mutation.ANY_ATTEMPT: (P.PROOF, P.ATOMIC),
    Mutation.RESULTS_READ_AGAIN: (P.ATOMIC,),
    Mutation.OUTCOME_BEFORE_DECISION: (P.ATOMIC,),
    Mutation.LOCAL_CHANGE_FIRST: (P.OWN_CHANGE,),
    Mutation.STATUS_ALONE: (P.PROOF, P.ATOMIC),
    Mutation.TAG_UNCHECKED: (P.PROOF, P.ATOMIC, P.POSSIBLE),
    Mutation.REPEAT_SAYS_YES: (P.PROOF, P.ATOMIC, P.POSSIBLE),
    Mutation.REPEAT_RUNS_AGAIN: (P.ONCE, P.NO_LATE_PREPARE, P.NOTHING_LEFT),
    Mutation.BRANCH_ROW_LAST: (P.NOTHING_LEFT, P.NO_OVERLAP),
    Mutation.SAME_IDENTIFIERS: (P.PROOF, P.ATOMIC),
    Mutation.NEXT_BEFORE_SETTLED: (P.NO_OVERLAP,),
    Mutation.SETTLED_WHEN_SENT: (P.NOTHING_LEFT, P.NO_OVERLAP),
    Mutation.UNDECIDED_FORGOTTEN: (P.LIVE,),
    Mutation.OUTCOMES_SENT_ONCE: (P.LIVE,),
    Mutation.SILENCE_WAITS: (P.LIVE,),
}

#: Mutations under which what is over is still over, so that `Machine.canonical` may leave it out.
REDUCIBLE = {
    Mutation.NEXT_BEFORE_SETTLED,
    Mutation.UNDECIDED_FORGOTTEN,
    Mutation.OUTCOMES_SENT_ONCE,
    Mutation.SILENCE_WAITS,
    Mutation.COMMIT_ASKS_NO_ROW,
}

#: Mutations that break nothing here, and why: the protection is the second of two.
REDUNDANT: dict[Mutation, str] = {
    Mutation.COMMIT_ASKS_NO_ROW: "a branch that is told to commit is always prepared or committed, so the row never "
    "says anything else; the question is there to make noise when an operator or a bug has broken that",
}
