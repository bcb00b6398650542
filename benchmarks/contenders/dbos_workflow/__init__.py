"""A durable workflow in DBOS (PyPI: dbos): four transactional steps on three databases, and compensations. A saga: each
step commits at once, so others see what may yet be taken back."""
