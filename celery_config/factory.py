"""One factory for each service's Celery app."""

from __future__ import annotations

import os

from celery import Celery

from celery_config.settings import settings

#: The first word of every gid and task id, the same in all services.
APP_NAME = "shop"

_DEFAULT_BROKER = "redis://127.0.0.1:6379/0"
_DEFAULT_BACKEND = "redis://127.0.0.1:6379/1"


def create_celery(service: str) -> Celery:
    """The Celery app of `service`, from ``BROKER_URL`` and ``RESULT_BACKEND_URL`` in the environment.

    Tasks are registered on it by the engine, not by decorators, so that tests can register several services' tasks on
    one app.
    """
    celery = Celery(service, set_as_current=False)
    celery.conf.update(
        settings(
            service,
            os.environ.get("BROKER_URL", _DEFAULT_BROKER),
            os.environ.get("RESULT_BACKEND_URL", _DEFAULT_BACKEND),
        )
    )
    return celery
