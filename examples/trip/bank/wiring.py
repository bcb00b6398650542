"""The engine of the bank service: what the command line and the workers find as `atomic`."""

from atomic_commit import AtomicCommit
from examples.trip.bank.branches import branches
from examples.trip.contract import APPLICATION, SERVICES

atomic = AtomicCommit.from_environment(
    application=APPLICATION,
    service="bank",
    services=SERVICES,
    branches=branches,
)
