"""Retention: removes what nobody can need any more, so that tables and indexes stay small.

Two ages, and the order between them matters (``Limits`` refuses others). The journal's settled transactions go first,
``keep_transactions`` after they were settled (until then a repeated Idempotency-Key is recognised and the URL of a
transaction answers). A transaction that is not settled is never touched, and neither are its branches in the journal.

Branch rows and tombstones go at ``keep_branch_rows``, by age alone: the participant does not know whether the
coordinator has settled. Why that is safe:

*A tombstone* keeps a late prepare out, so it has to outlive every message that could bring one. No age of a
transaction bounds that: a queue that nobody reads, or a broker that comes back from a long outage, keeps messages for
ever. So each message carries its end: ``message_lifetime`` after it was sent, at most half of ``keep_branch_rows``, no
worker takes it up any more (``messages``). The messages of an attempt are sent before it is over, its tombstones stand
from when it is over; so the last message that could prepare is dead long before the tombstone goes, whether or not the
transaction is settled by then. The other half of the time covers clocks that disagree, and a worker that is stopped
between taking a message and beginning with it. (One that sleeps through half of ``keep_branch_rows`` right there would
prepare a branch that nobody ever resolves. It can't be committed, because nobody decides on an attempt that is over;
but it holds locks until a person rolls it back. ``in-doubt`` shows it, as settled or as unknown to its coordinator.)

*A local call* is kept as long as a settled transaction, and for the same reason: until then its Idempotency-Key is
recognised.

*A loss* is kept until somebody has dealt with it, and then as long as a settled transaction: by then none of the
rows is compared any more in which it could be found again.

*A branch row* proves that a commit was done, so it has to outlive the repetitions of that outcome. Those end when the
transaction is settled, or when it is quarantined; they outlast the row only if no outcome worker of the coordinator was
up for all that time, or if a branch that had not answered yet is released from quarantine after it. Then a commit that
was done finds no proof of it: that is IMPOSSIBLE, quarantined and loud, and never taken for done, nor done twice. A
tombstone that is missed by a repeated rollback is put there again.
"""

from __future__ import annotations

import logging

from sqlalchemy import Engine, text

from atomic_commit.limits import Limits

log = logging.getLogger(__name__)

#: Rows removed in one local transaction: short ones, so that nobody waits for a lock behind a big one.
_BATCH = 1000

_REMOVE_TRANSACTIONS = text(
    # Whatever was settled that long ago was made before, so the index of what was made when leads to it: from the
    # oldest on, past the few that took long to settle.
    "WITH old AS (SELECT id FROM transactions WHERE created_at < now() - make_interval(secs => :age)"
    " AND settled_at < now() - make_interval(secs => :age)"
    " ORDER BY created_at, id LIMIT :batch FOR UPDATE SKIP LOCKED),"
    " branches AS (DELETE FROM transaction_branches USING old WHERE transaction_id = old.id)"
    " DELETE FROM transactions USING old WHERE transactions.id = old.id"
)
_REMOVE_BRANCH_ROWS = text(
    "DELETE FROM branch_rows WHERE ctid = ANY (ARRAY(SELECT ctid FROM branch_rows"
    " WHERE created_at < now() - make_interval(secs => :age)"
    " ORDER BY created_at LIMIT :batch FOR UPDATE SKIP LOCKED))"
)
_REMOVE_LOCAL_CALLS = text(
    "DELETE FROM local_calls WHERE ctid = ANY (ARRAY(SELECT ctid FROM local_calls"
    " WHERE created_at < now() - make_interval(secs => :age)"
    " ORDER BY created_at LIMIT :batch FOR UPDATE SKIP LOCKED))"
)
_REMOVE_CLOSED_LOSSES = text(
    "DELETE FROM losses WHERE ctid = ANY (ARRAY(SELECT ctid FROM losses"
    " WHERE closed_at < now() - make_interval(secs => :age) LIMIT :batch FOR UPDATE SKIP LOCKED))"
)


def remove_old(engine: Engine, limits: Limits) -> int:
    """Remove a batch of each kind of row that is past its age. Returns how many rows went; call again while any do."""
    with engine.begin() as connection:
        ages = (
            (_REMOVE_TRANSACTIONS, limits.keep_transactions),
            (_REMOVE_LOCAL_CALLS, limits.keep_transactions),
            (_REMOVE_CLOSED_LOSSES, limits.keep_transactions),
            (_REMOVE_BRANCH_ROWS, limits.keep_branch_rows),
        )
        removed = sum(connection.execute(sql, {"age": age, "batch": _BATCH}).rowcount for sql, age in ages)
    if removed:
        log.info("retention removed %d rows", removed)
    return removed
