"""The engine of the flights service: what the command line, the workers and the HTTP door find as `atomic`."""

import os

from celery import Celery

from atomic_commit import AtomicCommit, Installation, configure, create_engine
from examples.trip.contract import APPLICATION, COORDINATORS, SERVICES
from examples.trip.flights.branches import branches

installation = Installation.from_environment(APPLICATION)
celery = configure(
    Celery("flights"),
    installation=installation,
    service="flights",
    services=SERVICES,
    broker_url=os.environ["BROKER_URL"],
    result_backend_url=os.environ["RESULT_BACKEND_URL"],
)
atomic = AtomicCommit(
    service="flights",
    installation=installation,
    engine=create_engine(os.environ["DATABASE_URL"]),
    celery=celery,
    branches=branches,
    coordinators=COORDINATORS,
)
