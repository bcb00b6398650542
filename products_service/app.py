"""The products service's application factory."""

from __future__ import annotations

from typing import Any

import flask

from http_api.service import assemble
from products_service.branches import branches
from products_service.models import db
from products_service.routes import blueprint


def create_app(**given: Any) -> flask.Flask:
    """The app, from the environment or from what is given (see ``http_api.service.assemble``)."""
    return assemble(service="products", db=db, blueprint=blueprint, branches=branches, **given)
