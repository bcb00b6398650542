"""One factory for each service's Celery app."""

from __future__ import annotations

import os

from celery import Celery

from atomic_commit import Installation, configure
from celery_config.installation import installation as of_this_process
from celery_config.manifest import SERVICES

_DEFAULT_BROKER = "redis://127.0.0.1:6379/0"
_DEFAULT_BACKEND = "redis://127.0.0.1:6379/1"


def create_celery(service: str, installation: Installation | None = None) -> Celery:
    """The Celery app of `service`, or of somebody who only looks, from the environment: ``BROKER_URL``,
    ``RESULT_BACKEND_URL`` and, unless `installation` is given, ``ATOMIC_INSTALLATION``.

    Tasks are registered on it by the engine, not by decorators, so that tests can register several services' tasks on
    one app.
    """
    return configure(
        Celery(service, set_as_current=False),
        installation=installation or of_this_process(),
        service=service,
        services=SERVICES,
        broker_url=os.environ.get("BROKER_URL", _DEFAULT_BROKER),
        result_backend_url=os.environ.get("RESULT_BACKEND_URL", _DEFAULT_BACKEND),
    )
