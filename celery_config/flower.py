"""The Celery app that Flower looks through: it knows every queue and no task's code."""

from celery_config.factory import create_celery

celery = create_celery("flower")
