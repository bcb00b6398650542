"""The hotels service: rooms of a night. Run by `python -m atomic_commit -A examples.trip.hotels VERB`."""

from examples.trip.hotels.wiring import atomic

__all__ = ["atomic"]
