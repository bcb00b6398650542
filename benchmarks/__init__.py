"""Measurements, each a command that prints what it found: ``python -m benchmarks.<name>``."""

import os

#: What every process that is started from here is told.
os.environ.setdefault("ATOMIC_INSTALLATION", "benchmark")
