"""The flights service: seats of a flight.

`python -m atomic_commit -A examples.trip.flights migrate | worker | outcome-worker | transactions | …`
"""

from examples.trip.flights.wiring import atomic

__all__ = ["atomic"]
