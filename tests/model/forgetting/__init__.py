"""A database that forgets what it did since some moment, as a state machine of its own: one transaction, two
participants, and one database (the coordinator's, or a participant's) that once comes back as it was at any earlier
moment; or all of them, restored to the same one.

What it adds to the other models: the journal that is older than what it has decided, with the stored results of the
time that it forgot; asking, proofs and rolling forward; a participant that stands prepared again, or has nothing; and
the branch that asks. Faults have no number: of what is on its way nothing is ever used up, so that each message may
arrive never, once or often, in any order, also those of the life before, which nobody has emptied the broker of.

**What may be lost** is what the database that forgot had: a participant's branch, the coordinator's own change, the
whole transaction; where all were restored together, whatever came after. What never happens is that the others
disagree, that something takes effect twice, or that somebody stands prepared for ever. ``Property`` says so of every
state that is not quarantined.

That it has forgotten is noticed at once, as the engine does on each new connection. Where nothing tells it (a disk that
is set back while no process is there to remember), the proof that answers a rollback is a second net, and not part of
this.

**Simpler than the engine**, always so that more may happen than there: an attempt may be given up at any time; whoever
stands prepared may ask at any time; answers to an inquiry about an attempt that the journal does not know come at once
(the testimonies of a transaction come one by one).
"""

from .mutations import BREAKS, REDUNDANT, Mutation
from .properties import Property

__all__ = ["BREAKS", "REDUNDANT", "Mutation", "Property"]
