"""The engine of the hotels service: what the command line and the workers find as `atomic`."""

from atomic_commit import AtomicCommit
from examples.trip.contract import APPLICATION, SERVICES
from examples.trip.hotels.branches import branches

atomic = AtomicCommit.from_environment(
    application=APPLICATION,
    service="hotels",
    services=SERVICES,
    branches=branches,
)
