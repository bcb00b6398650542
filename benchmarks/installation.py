"""The names under which contenders that use the shop's queues and settings meet on the broker."""

from atomic_commit.names import Installation

BENCHMARK = Installation("shop", "benchmark")
