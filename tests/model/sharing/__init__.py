"""Attempts that transactions share, as a state machine of their own: two transactions of one coordinator, which may go
alone or together, and two participants.

What it adds to the model of a lone transaction: who waits and who goes together, a first branch that leaves one of them
out, a later one that can't unless the first one was a hold, refusals beside others, and one decision that may commit
one member and send the other into another attempt. Faults have no number, as there: of what is on its way nothing is
ever used up, so that each message may arrive never, once or often, in any order, and each process may end between any
two steps.

**Liveness** needs no second search here. In every state, with every message lost and whatever the result backend may
hold, recovery must have a step, unless all is settled and nothing is held; and each of its steps must come nearer to
the end (``properties.nearness``), so that it gets there whichever way it goes.

**Simpler than the engine**, always so that more may happen than there: a no may be read at any time of an attempt,
whoever it names; an outcome that is owed may be met at any time, and its answer may arrive at any time after; any who
wait may go together, also one that is to go alone or with its companions; there is no bound on attempts under way; an
attempt that was formed may be sent by anybody at any time, so that nothing is noted about its sending; clocks are over
or not as the search likes. The coordinator's own change is no state of its own: it is made, as in the engine, in the
local transaction of the decision. Votes, ballots and decisions for each member are the engine's own code.
"""

from .mutations import BREAKS, OF_HOLDS, Mutation
from .properties import Property

__all__ = ["BREAKS", "OF_HOLDS", "Mutation", "Property"]
