"""The users service's application factory."""

from __future__ import annotations

from typing import Any

import flask

from service_roles.assembly import assemble
from users_service.branches import branches
from users_service.models import db
from users_service.remove_user import remove_user
from users_service.routes import blueprint


def create_app(**given: Any) -> flask.Flask:
    """The app, from the environment or from what is given (see ``service_roles.assembly.assemble``)."""
    return assemble(service="users", db=db, blueprint=blueprint, kinds=(remove_user,), branches=branches, **given)
