"""The hotels service: rooms of a night.

`python -m atomic_commit -A examples.trip.hotels migrate | worker | outcome-worker | transactions | …`
"""

from examples.trip.hotels.wiring import atomic

__all__ = ["atomic"]
