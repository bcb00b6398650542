"""Whoever is told to end takes its shop down first."""

from __future__ import annotations

import signal
import sys


def end_by_exception() -> None:
    """From now on SIGTERM ends this process as Ctrl-C does, by an exception; with 143, as shells say it."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
