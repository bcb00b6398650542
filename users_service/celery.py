"""What Celery loads for both workers of the users service: ``celery -A users_service worker``."""

from service_roles.engine import celery_of
from users_service.branches import branches
from users_service.remove_user import remove_user

celery = celery_of("users", kinds=(remove_user,), branches=branches)
