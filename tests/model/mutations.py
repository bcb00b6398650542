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


#: mutation → the promises that it breaks, any of which may be the first that the search meets
CAUGHT: dict[Mutation, P] = {}

#: Mutations that break nothing here, and why: the protection is the second of two.
REDUNDANT: dict[Mutation, str] = {
    Mutation.COMMIT_ASKS_NO_ROW: "a branch that is told to commit is always prepared or committed, so the row never "
    "says anything else; the question is there to make noise when an operator or a bug has broken that",
}
