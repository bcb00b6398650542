"""The orders service's application factory."""

from __future__ import annotations

from typing import Any

import flask

from orders_service.branches import branches
from orders_service.cancel_order import cancel_order
from orders_service.models import db
from orders_service.place_order import place_order
from orders_service.routes import blueprint
from service_roles.assembly import assemble


def create_app(**given: Any) -> flask.Flask:
    """The app, from the environment or from what is given (see ``service_roles.assembly.assemble``)."""
    return assemble(
        service="orders", db=db, blueprint=blueprint, kinds=(place_order, cancel_order), branches=branches, **given
    )
