"""Alembic's entry for the orders service: ``python -m orders_service migrate``."""

from orders_service.models import metadata
from service_roles.migrate import run_env

run_env(metadata)
