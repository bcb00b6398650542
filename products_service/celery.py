"""What Celery loads for both workers of the products service: ``celery -A products_service worker``."""

from products_service.branches import branches
from service_roles.engine import celery_of

celery = celery_of("products", branches=branches)
