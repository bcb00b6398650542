"""The trips service: it sells them, and coordinates.

`python -m atomic_commit -A examples.trip.trips migrate | worker | outcome-worker | transactions | …`
"""

from examples.trip.trips.wiring import atomic

__all__ = ["atomic"]
