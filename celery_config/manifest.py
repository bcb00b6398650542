"""The shop's services, told once: what processes, queues, launcher, tests and judges go by.

Who adds a service adds a line here (and one to ``tasks`` for each branch that it offers).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Service:
    """One service of the shop, whose package is called ``<name>_service``."""

    name: str
    #: TCP port of its API, unless PORT says otherwise.
    port: int
    #: Whether it begins transactions. Those that do are told when a participant is back.
    coordinates: bool


SHOP = (
    Service("users", 5001, coordinates=True),
    Service("products", 5002, coordinates=False),
    Service("orders", 5003, coordinates=True),
)

#: The one global order in which transactions lock rows of several databases: branches run in it, or two transactions
#: could wait for each other across databases, which no database sees. A kind that does not follow it does not start.
LOCK_ORDER = ("users", "orders", "products")

SERVICES = tuple(service.name for service in SHOP)
COORDINATORS = tuple(service.name for service in SHOP if service.coordinates)
PORTS = {service.name: service.port for service in SHOP}
