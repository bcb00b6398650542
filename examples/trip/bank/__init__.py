"""The bank service: accounts with a balance that never goes below zero. Run by `python -m atomic_commit -A examples.trip.bank VERB`."""

from examples.trip.bank.wiring import atomic

__all__ = ["atomic"]
