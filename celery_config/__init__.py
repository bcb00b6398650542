"""What the services agree on: manifest, installation, names of branches, the factory of Celery apps; and Flower.

Import rule: may import ``atomic_commit``, never a service and never Flask.
"""

from celery_config.factory import create_celery

__all__ = ["create_celery"]
