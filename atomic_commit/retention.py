"""Retention: removes what nobody can need any more, so that tables and indexes stay small.

Two ages, and the order between them matters. The journal's settled transactions go first, after ``keep_transactions``
(until then a repeated Idempotency-Key is recognised and the URL of a transaction answers). Branch rows and tombstones
stay for ``keep_branch_rows``, which is longer: a tombstone must outlive every message that could still bring a late
prepare, and a branch row must outlive every repetition of the outcome that it proves to be done.

A transaction that is not settled is never touched, and neither are its branches in the journal.
"""

from __future__ import annotations

import logging

from sqlalchemy import Engine, text

from atomic_commit.limits import Limits

log = logging.getLogger(__name__)

#: Rows removed in one local transaction: short ones, so that nobody waits for a lock behind a big one.
_BATCH = 1000

_REMOVE_TRANSACTIONS = text(
    "WITH old AS (SELECT id FROM transactions WHERE settled_at < clock_timestamp() - make_interval(secs => :age)"
    " ORDER BY settled_at LIMIT :batch FOR UPDATE SKIP LOCKED),"
    " branches AS (DELETE FROM transaction_branches USING old WHERE transaction_id = old.id)"
    " DELETE FROM transactions USING old WHERE transactions.id = old.id"
)
_REMOVE_BRANCH_ROWS = text(
    "DELETE FROM branch_rows WHERE ctid = ANY (ARRAY(SELECT ctid FROM branch_rows"
    " WHERE created_at < clock_timestamp() - make_interval(secs => :age) LIMIT :batch FOR UPDATE SKIP LOCKED))"
)


def remove_old(engine: Engine, limits: Limits) -> int:
    """Remove a batch of each kind of row that is past its age. Returns how many rows went; call again while any do."""
    with engine.begin() as connection:
        # However it is set: branch rows outlive the transactions that might still repeat an outcome.
        keep_branch_rows = max(limits.keep_branch_rows, limits.keep_transactions + limits.deadline)
        ages = ((_REMOVE_TRANSACTIONS, limits.keep_transactions), (_REMOVE_BRANCH_ROWS, keep_branch_rows))
        removed = sum(connection.execute(sql, {"age": age, "batch": _BATCH}).rowcount for sql, age in ages)
    if removed:
        log.info("retention removed %d rows", removed)
    return removed
