"""Publishing without subscribing to the results.

A Celery client that publishes subscribes to the result of what it sends, to be ready for a ``get()``; nobody here ever
calls one, and the subscriptions would pile up. Celery leaves them out while joining is denied. But its context manager
saves and restores a flag of the whole process, which threads that overlap leave standing wrong for ever; counting the
threads inside makes it safe.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from celery.result import denied_join_result

_lock = threading.Lock()
_inside = 0
_denied = ExitStack()


@contextmanager
def unsubscribed() -> Iterator[None]:
    """What is published in this block, by any thread, is not subscribed to."""
    global _inside
    with _lock:
        if _inside == 0:
            _denied.enter_context(denied_join_result())
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0:
                _denied.close()
