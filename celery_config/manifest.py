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
    #: The services that may take part in the transactions that it begins; they tell it when they are back after they
    #: were away. A kind with a branch of another service does not start, and another service prepares nothing for it.
    calls: tuple[str, ...]
    #: Its place in the one global order in which transactions lock rows of several databases (`LOCK_ORDER`).
    lock_order: int


SHOP = (
    Service("users", 5001, calls=("orders", "products"), lock_order=1),
    Service("products", 5002, calls=(), lock_order=3),
    Service("orders", 5003, calls=("users", "products"), lock_order=2),
)

#: The one global order in which transactions lock rows of several databases: branches run in it, or two transactions
#: could wait for each other across databases, which no database sees. A kind that does not follow it does not start.
LOCK_ORDER = tuple(service.name for service in sorted(SHOP, key=lambda service: service.lock_order))

SERVICES = tuple(service.name for service in SHOP)
#: Service → the services that may take part in its transactions.
CALLS = {service.name: service.calls for service in SHOP}
#: Service → the services that may have it take part in their transactions.
CALLERS = {name: tuple(caller for caller, calls in CALLS.items() if name in calls) for name in SERVICES}
#: Those that begin transactions.
COORDINATORS = tuple(service.name for service in SHOP if service.calls)
PORTS = {service.name: service.port for service in SHOP}
