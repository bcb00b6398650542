"""For tests: failpoints at which a process can be stopped."""
