"""The products service's application factory."""

from __future__ import annotations

from typing import Any

import flask

from products_service.branches import branches
from products_service.models import db
from products_service.routes import blueprint
from service_roles.assembly import assemble


def create_app(**given: Any) -> flask.Flask:
    """The app, from the environment or from what is given (see ``service_roles.assembly.assemble``)."""
    return assemble(service="products", db=db, blueprint=blueprint, branches=branches, **given)
