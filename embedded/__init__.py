"""The whole shop on this machine, without Docker: `python -m embedded up | demo | status | down`.

As a library: `with Shop(folder) as shop: …` runs PostgreSQL, a Redis-protocol server (Valkey), the three
services and Flower as child processes, and can kill, hold down and bring up each of them.

Import rule: this package imports nothing of the shop. It only starts the services' own command lines.
"""

import sys

__all__ = ["EmbeddedError", "Ports", "Shop", "StartFailed"]

if sys.platform != "win32":  # on Windows nothing here can work; __main__ says what to use instead
    from embedded.settings import Ports
    from embedded.shop import Shop
    from local_servers.errors import EmbeddedError, StartFailed
