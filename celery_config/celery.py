"""The Celery app of people: ``celery -A celery_config inspect …``, and what Flower looks through (`monitor`). It
knows every queue and no task's code."""

from celery_config.factory import create_celery

celery = create_celery("flower")
