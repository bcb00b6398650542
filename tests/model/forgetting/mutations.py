"""The rules for databases that forget with one of them taken out: what the model must notice."""

from __future__ import annotations

from enum import StrEnum

from .properties import Property as P


class Mutation(StrEnum):
    """One rule less, in words."""

    NOBODY_ASKED = "a journal that has forgotten decides without asking"
    OLD_EPOCH = "what was sent in another life counts in this one"
    NO_PROMISE = "who has testified does what the life before has sent"
    ONE_IS_ENOUGH = "the first testimony is taken for all"
    PROOF_IGNORED = "a branch that is done proves nothing"
    DECIDED_WHILE_ASKING = "votes are counted while participants are asked"
    NUMBER_GIVEN_TWICE = "the next attempt has the number that follows in the journal"
    NOT_ABANDONED = "the attempt that the journal believes under way is not rolled back"
    TOMBSTONE_IGNORED = "it is rolled forward although a branch of the attempt was rolled back"
    PREPARED_FORGOTTEN = "it is rolled forward without telling the branches that are still prepared"
    NO_INQUIRY = "a prepared branch asks nobody"
    UNKNOWN_ROLLED_BACK = "a branch whose attempt the journal does not know is rolled back without asking the others"
    SETTLED_FOR_EVER = "a branch of what is settled is told nothing"


#: mutation → the promises that it breaks, each of which the search must find broken
BREAKS: dict[Mutation, tuple[P, ...]] = {
    Mutation.NOBODY_ASKED: (P.ATOMIC, P.ONCE),
    Mutation.OLD_EPOCH: (P.ATOMIC,),
    Mutation.NO_PROMISE: (P.ATOMIC,),
    Mutation.ONE_IS_ENOUGH: (P.ATOMIC,),
    Mutation.PROOF_IGNORED: (P.ATOMIC, P.ONCE),
    Mutation.DECIDED_WHILE_ASKING: (P.ATOMIC,),
    Mutation.NUMBER_GIVEN_TWICE: (P.ATOMIC,),
    Mutation.NOT_ABANDONED: (P.ENDS,),
    Mutation.PREPARED_FORGOTTEN: (P.AGREED,),
    Mutation.NO_INQUIRY: (P.ENDS,),
    Mutation.UNKNOWN_ROLLED_BACK: (P.ATOMIC,),
    Mutation.SETTLED_FOR_EVER: (P.ENDS,),
}

#: Rules without which nothing breaks here, and why.
REDUNDANT: dict[Mutation, str] = {
    Mutation.TOMBSTONE_IGNORED: "an attempt that is done is rolled back nowhere, unless by hand or by a journal that "
    "has forgotten and does not know; then it must not be taken for whole",
}
