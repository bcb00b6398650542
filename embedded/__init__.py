"""The whole shop on this machine, without Docker: `python -m embedded up | demo | status | env | down`.

As a library: `with Shop(folder) as shop: …` runs PostgreSQL, a Redis-protocol server (Valkey), the
services and Flower as child processes, and can kill, hold down and bring up each of them.

Import rule: of the shop this package imports the manifest alone, and starts the services' own command lines.
How servers and processes are run is in `local_servers`, which knows no shop.
"""

import sys

__all__ = ["LocalServersError", "Ports", "Shop", "StartFailed"]

if sys.platform != "win32":  # on Windows nothing here can work; __main__ says what to use instead
    from embedded.settings import Ports
    from embedded.shop import Shop
    from local_servers.errors import LocalServersError, StartFailed
