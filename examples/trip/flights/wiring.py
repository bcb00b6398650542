"""The engine of the flights service: what the command line and the workers find as `atomic`."""

from atomic_commit import AtomicCommit
from examples.trip.contract import APPLICATION, SERVICES
from examples.trip.flights.branches import branches

atomic = AtomicCommit.from_environment(
    application=APPLICATION,
    service="flights",
    services=SERVICES,
    branches=branches,
)
