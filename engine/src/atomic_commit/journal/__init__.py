"""The coordinator's journal: every statement that changes the rows which are the only truth about a transaction.

Functions take the session of the local transaction they belong to; none of them commits. Times are the database's
(``clock_timestamp()``), so that the clocks of the processes don't matter. ``records`` reads the rows.

The statements that every transaction needs are made once: to put one together costs more than to send it.
"""

from atomic_commit.journal.accepting import insert_transaction, insert_waiting, take_place
from atomic_commit.journal.admission import ADMISSION_LOCKS
from atomic_commit.journal.deciding import (
    hold_attempt,
    record_commit,
    record_decision,
    record_outcomes,
    record_retry,
    tell_who_waits,
)
from atomic_commit.journal.forming import (
    claim_waiting,
    insert_branches,
    kinds_that_wait,
    mark_dispatched,
    mark_unpublished,
    quarantine_kind,
    somebody_may_go,
    start_attempt,
)
from atomic_commit.journal.holding import hold, wait_for_who_accepts
from atomic_commit.journal.pausing import Pause, pause, read_pause, resume
from atomic_commit.journal.pinning import forget_database, pin_database, pinned_databases
from atomic_commit.journal.recovering import (
    bring_forward,
    bring_owed_forward,
    claim_due,
    make_all_due,
    put_back,
    quarantined_among,
    record_error,
    record_quarantine,
    release,
    restart_clocks,
)
from atomic_commit.journal.settling import record_settled, record_settled_branch

__all__ = [
    "ADMISSION_LOCKS",
    "Pause",
    "bring_forward",
    "bring_owed_forward",
    "claim_due",
    "claim_waiting",
    "forget_database",
    "hold",
    "hold_attempt",
    "insert_branches",
    "insert_transaction",
    "insert_waiting",
    "kinds_that_wait",
    "make_all_due",
    "mark_dispatched",
    "mark_unpublished",
    "pause",
    "pin_database",
    "pinned_databases",
    "put_back",
    "quarantine_kind",
    "quarantined_among",
    "read_pause",
    "record_commit",
    "record_decision",
    "record_error",
    "record_outcomes",
    "record_quarantine",
    "record_retry",
    "record_settled",
    "record_settled_branch",
    "release",
    "restart_clocks",
    "resume",
    "somebody_may_go",
    "start_attempt",
    "take_place",
    "tell_who_waits",
    "wait_for_who_accepts",
]
