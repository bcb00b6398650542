"""How long things may take. Every wait in the protocol is bounded by a number from here."""

from __future__ import annotations

import math
import os
import random
from collections.abc import Mapping
from dataclasses import dataclass, fields

#: Of a message: long enough for clocks that differ by hours, short enough that those which repeat each other don't pile
#: up for weeks.
_LIFETIME = 6 * 3600.0
_LONGEST_LIFETIME = 40 * 86400.0


@dataclass(frozen=True)
class Limits:
    """Time limits in seconds and counts; each can be set by the environment as ``ATOMIC_<NAME>``.

    ``deadline``: after this an undecided transaction is not tried again. Generous, because an accepted request should
    survive an outage of a worker or the broker; locks are held no longer than ``patience``.
    ``patience``: silence of one attempt before it is rolled back and a new one begins; doubles with each silent attempt
    up to ``patience_cap``, so that a long queue is not mistaken for a loss for ever.
    ``lock_timeout``: longest wait for a row lock, in a request or in a branch.
    ``branch_row_timeout``: longest wait of an outcome worker for a row of the business; and of anybody for the branch
    row, which only a duplicate of the same branch can hold.
    ``sweep_interval``: mean time between two looks of recovery, jittered by half.
    ``look_after``: when recovery first looks at a transaction whose messages should long have done the work.
    ``backoff``/``backoff_cap``: first and longest pause before a new attempt or a repeated outcome message.
    ``unwatched``: a look that is overdue by more than this proves that no outcome worker was alive; silence in that
    time is not held against the branches.
    ``attempt_size``: most transactions that share one attempt; 1 turns sharing off.
    ``attempts_at_once``: attempts of one kind that a service has under way; what comes meanwhile waits and goes
    together.
    ``failed_attempts``: how often a branch that fails with an unexpected error is tried.
    ``keep_transactions``, ``keep_branch_rows``: ages at which settled transactions and branch rows are removed. The
    same in every service, because one's messages meet the other's branch rows; ``retention`` says what depends on them.
    ``quarantine_after``: unexpected errors without progress before a transaction is quarantined.
    ``inquire_after``: a branch that stands prepared for longer asks its coordinator.
    ``ids_per_second``: at most so many ids a sequence of the service gives away in a second. Where the database comes
    back older than it was, its sequences skip what may have been given away in the time that it has forgotten.
    """

    deadline: float = 600.0
    patience: float = 1.5
    patience_cap: float = 120.0
    lock_timeout: float = 1.0
    branch_row_timeout: float = 0.3
    sweep_interval: float = 0.5
    look_after: float = 1.0
    backoff: float = 0.1
    backoff_cap: float = 5.0
    unwatched: float = 10.0
    keep_transactions: float = 7 * 86400.0
    keep_branch_rows: float = 30 * 86400.0
    attempt_size: int = 64
    attempts_at_once: int = 2
    failed_attempts: int = 3
    quarantine_after: int = 20
    inquire_after: float = 30.0
    ids_per_second: int = 1000

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value <= 0 or not math.isfinite(value):
                raise ValueError(f"ATOMIC_{field.name.upper()} must be a finite number above 0, not {value}")
        if self.keep_branch_rows < 2 * (self.keep_transactions + self.deadline):
            raise ValueError(
                f"ATOMIC_KEEP_BRANCH_ROWS={self.keep_branch_rows} must be at least twice the sum of"
                f" ATOMIC_KEEP_TRANSACTIONS={self.keep_transactions} and ATOMIC_DEADLINE={self.deadline}"
            )

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Limits:
        """Limits with what the environment (this process's, unless another is given) sets. Raises ValueError that names
        the variable and the bad value."""
        given = os.environ if environment is None else environment
        chosen: dict[str, float | int] = {}
        for field in fields(cls):
            variable = f"ATOMIC_{field.name.upper()}"
            if text := given.get(variable):
                try:
                    chosen[field.name] = int(text) if isinstance(field.default, int) else float(text)
                except ValueError:
                    raise ValueError(f"{variable}={text!r} is not a number") from None
        return cls(**chosen)  # type: ignore[arg-type]

    @property
    def message_lifetime(self) -> float:
        """Seconds after which nobody acts on a message any more: six hours, or twice a longer deadline, but well before
        the branch row that would refuse it goes. What still matters is sent again. (Not more than RabbitMQ can count,
        which is 2³² milliseconds.)"""
        return min(self.keep_branch_rows / 2, max(_LIFETIME, 2 * self.deadline), _LONGEST_LIFETIME)

    @property
    def farthest_ahead(self) -> float:
        """Seconds by which a worker's clock may be ahead of its database's: beyond it drops messages of transactions
        whose deadline is not over yet."""
        return max(self.message_lifetime / 2, self.message_lifetime - self.deadline)

    @property
    def farthest_behind(self) -> float:
        """Seconds by which it may be behind: beyond it acts on messages whose tombstone is gone."""
        return self.keep_branch_rows - self.message_lifetime

    def patience_after(self, silent_attempts: int) -> float:
        """Seconds of silence that an attempt is granted after so many that were silent."""
        return min(self.patience * 2.0 ** min(silent_attempts, 20), self.patience_cap)

    def pause(self, count: int) -> float:
        """Seconds to wait before try number `count` + 1: exponential with full jitter, so that rivals who met once do
        not meet again (Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015)."""
        ceiling = min(self.backoff * 2.0 ** min(count, 20), self.backoff_cap)
        return random.uniform(ceiling / 2, ceiling)
