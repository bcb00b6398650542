"""Alembic's entry for the users service: ``python -m users_service migrate``."""

from service_roles.migrate import run_env
from users_service.models import metadata

run_env(metadata)
