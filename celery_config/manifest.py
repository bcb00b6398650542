"""The shop's services, told once: what processes, queues, launcher, tests and judges go by.

Who adds a service adds a line here, and one to ``tasks`` for each branch that it offers:
``docs/how-to/adding-a-service.md``.
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
    #: Its place in the one global order in which transactions lock rows of several databases (`LOCK_ORDER`).
    lock_order: int


SHOP = (
    Service("users", 5001, coordinates=True, lock_order=1),
    Service("products", 5002, coordinates=False, lock_order=3),
    Service("orders", 5003, coordinates=True, lock_order=2),
)

#: The one global order in which transactions lock rows of several databases: branches run in it, or two transactions
#: could wait for each other across databases, which no database sees. A kind that does not follow it does not start.
LOCK_ORDER = tuple(service.name for service in sorted(SHOP, key=lambda service: service.lock_order))

SERVICES = tuple(service.name for service in SHOP)
COORDINATORS = tuple(service.name for service in SHOP if service.coordinates)
PORTS = {service.name: service.port for service in SHOP}
