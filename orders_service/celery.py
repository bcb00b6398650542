"""What Celery loads for both workers of the orders service: ``celery -A orders_service worker``."""

from orders_service.branches import branches
from orders_service.cancel_order import cancel_order
from orders_service.place_order import place_order
from service_roles.engine import celery_of

celery = celery_of("orders", kinds=(place_order, cancel_order), branches=branches)
