"""Recovery: what a sweeper does by itself, and how it bears with what can't be recovered."""

from __future__ import annotations

import time

from eager_shop import LIMITS, Shop

from atomic_commit import TransactionRecord
from atomic_commit.recovery import Sweeper

# ---- "Every outcome worker sweeps by itself, at start and every second or so"


def test_a_sweeper_that_starts_looks_at_everything_at_once_however_far_it_was_put_off(
    shop: Shop, removal: TransactionRecord, user: int
) -> None:
    """For example by a clock that has been put back since."""
    shop.query("users", "UPDATE transactions SET next_look_at = clock_timestamp() + interval '1 day'")
    shop.prepare_all(removal)
    assert shop.sweep() == 0
    sweeper = Sweeper(shop.engines["users"], shop.atomic("users").coordinator, LIMITS)
    sweeper.start()
    try:
        end = time.monotonic() + 20
        while not shop.record("users", removal.id).settled_at and time.monotonic() < end:
            time.sleep(0.02)
    finally:
        sweeper.stop()
    assert shop.status_of_user(user) is None
