"""The bank service: accounts with a balance that never goes below zero.

`python -m atomic_commit -A examples.trip.bank migrate | worker | outcome-worker | transactions | …`
"""

from examples.trip.bank.wiring import atomic

__all__ = ["atomic"]
