"""The commit protocol as a state machine, and a search through every state that it can reach.

``make model`` (``python -m tests.model``) explores one transaction of one coordinator and two participants, checks
every state and every step against the promises in ``properties.py``, and then takes out one protection after the other
(``mutations.py``) to show that each promise is really looked at.

**Faults have no number.** Whatever is on its way (a message, a write to the result backend, the next step of a process)
stands in a set from which nothing is ever taken. So each message may arrive never, once or often, in any order and as
late as it likes; a process that dies between two steps is one whose next step never happens; and any number of
coordinator processes race each other, each with votes as old as it likes. Every execution with finitely many losses,
repetitions, delays and crashes is therefore among those explored. What *is* bounded: two participants, one transaction,
and the number of attempts (``--attempts``; at the last one only the deadline ends what a retry would).

**Liveness** is a second search. It starts from everything that the databases and the result backend may hold in any
state of the first one, with every message lost and every process dead, and lets messages be consumed and nothing fail
any more. From each of its states a settled one must be reachable; since the graph is finite, a recovery that is fair
(whatever may happen again and again does happen in the end) then settles every transaction.

**Not in the model**: what PostgreSQL promises (a local transaction is atomic and durable; a unique key and a row lock
make others wait; a prepared transaction survives everything but COMMIT and ROLLBACK PREPARED); times (patience and
deadline are over or not as the search likes, also "over" and then "not over", which is what `restart_clocks` does);
other transactions (a locked row or a soft mark of theirs is a conflict that the search throws in; those that share an
attempt have a model of their own, ``sharing/``); business values; quarantine after too many unexpected errors;
retention (it takes for granted that rows outlive messages). Of a FAILURE the model tells apart a refusal and all else
("again"), which is all that matters for what may follow; ``test_model.py`` proves that with the engine's own functions.
`review` is recovery's look by another name. Votes, ballots, decisions and identifiers are the engine's own code; the
other steps are written after it, so a change of the engine's steps has to be made here too.

A second pair of bounds (``--counted-attempts``, ``--faults``) explores the same steps with faults that are counted,
messages that are used up, results that are stored, and deciders that read one vote after the other: a check of the
argument above, for it must reach no databases that the first search does not reach.
"""
