"""The trips service: it sells them, and coordinates. Run by `python -m atomic_commit -A examples.trip.trips VERB`."""

from examples.trip.trips.wiring import atomic

__all__ = ["atomic"]
