"""The engine of the trips service: what the command line, the workers and the HTTP door find as `atomic`."""

from atomic_commit import AtomicCommit
from examples.trip.contract import APPLICATION, LOCK_ORDER, SERVICES
from examples.trip.trips.book_trip import book_trip

atomic = AtomicCommit.from_environment(
    application=APPLICATION,
    service="trips",
    services=SERVICES,
    kinds=[book_trip],
    lock_order=LOCK_ORDER,
)
