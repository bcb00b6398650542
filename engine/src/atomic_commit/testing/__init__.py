"""For tests: named points at which a process can be stopped."""
