"""What the services agree on about Celery: the app factory, the queues, the tasks' names, the delivery settings.

Import rule: may import ``atomic_commit``, never a service and never Flask.
"""

from celery_config.factory import create_celery

__all__ = ["create_celery"]
