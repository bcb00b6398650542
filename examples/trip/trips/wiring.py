"""The engine of the trips service: what the command line, the workers and the HTTP door find as `atomic`."""

import os

from celery import Celery

from atomic_commit import AtomicCommit, Installation, configure, create_engine
from examples.trip.contract import APPLICATION, LOCK_ORDER, SERVICES
from examples.trip.trips.book_trip import book_trip

installation = Installation.from_environment(APPLICATION)
celery = configure(
    Celery("trips"),
    installation=installation,
    service="trips",
    services=SERVICES,
    broker_url=os.environ["BROKER_URL"],
    result_backend_url=os.environ["RESULT_BACKEND_URL"],
)
atomic = AtomicCommit(
    service="trips",
    installation=installation,
    engine=create_engine(os.environ["DATABASE_URL"]),
    celery=celery,
    kinds=[book_trip],
    lock_order=LOCK_ORDER,
)
