"""The mutants: which lines are taken out, and the test that must fail then.

Not here, because nothing can go wrong without them, only slower; the rows and the sweep do the same work later:

- late acknowledgement, retry after a lost worker, the visibility timeout and its keys for each service, prefetch 1: a
  message that is lost all the same (Redis pops before it records) is silence, and silence is ended by recovery;
- the error callback ``review``, RabbitMQ's quorum queues and publisher confirms: they spare a wait for recovery;
- in the participant, asking whether a branch is prepared before it is rolled back: it spares lines in the server's log;
- the condition under which an attempt is published again (nobody else does): a chain that comes twice is a duplicate;
- that a branch which nobody gets through is not prepared: what it would prepare is empty, and is rolled back;
- that somebody has to wait before the turn is taken; pauses between attempts; that followers are not looked at.

For speed as well, but here because a test can tell: the second round of a rollback, and that everything is due at a
sweeper's start (else it is looked at when its pause is over, seconds later unless the clock was put back); that whoever
decides or settles lets go who waits (the next sweep does); that the members' rows are held in one order (else deciders
meet in a circle, the database ends one of them, and recovery decides); that a row of the journal which somebody holds
does not keep the others in line.

Not here either, because there is no line to take out: gids of others. Every gid that is resolved was read in the
journal, or is asked about by who found it in its database, which knows those of its installation alone.
"""

from __future__ import annotations

from .answers import ANSWERS
from .application import APPLICATION
from .clock import CLOCK
from .durability import DURABILITY
from .forgetting import FORGETTING
from .http import HTTP
from .installations import INSTALLATIONS
from .local import LOCAL
from .losses import LOSSES
from .pile import PILE
from .quiet import QUIET
from .remote import REMOTE
from .sharing import SHARING
from .spoilers import SPOILERS
from .standing_in_line import STANDING_IN_LINE
from .steps import STEPS
from .trouble import TROUBLE
from .wiring import WIRING

MUTANTS = (  # one a line
    *STEPS,
    *INSTALLATIONS,
    *HTTP,
    *LOCAL,
    *DURABILITY,
    *FORGETTING,
    *ANSWERS,
    *APPLICATION,
    *CLOCK,
    *LOSSES,
    *PILE,
    *QUIET,
    *REMOTE,
    *STANDING_IN_LINE,
    *SHARING,
    *SPOILERS,
    *TROUBLE,
    *WIRING,
)
