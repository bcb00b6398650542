"""Alembic's entry for the products service: ``python -m products_service migrate``."""

from products_service.models import metadata
from service_roles.migrate import run_env

run_env(metadata)
