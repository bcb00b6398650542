"""A saga by celery-saga (PyPI): four steps with compensations, its state in Redis.

Its orchestrator runs each step inside its own task, by name and without a queue for each: so every worker needs all
three databases, and all read one queue. Its result can only be polled for.
"""
