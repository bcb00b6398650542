"""The flights service: seats of a flight. Run by `python -m atomic_commit -A examples.trip.flights VERB`."""

from examples.trip.flights.wiring import atomic

__all__ = ["atomic"]
