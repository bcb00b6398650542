"""What the engine asks of PostgreSQL beside its own rows: connections, errors, notices, whose database it is."""
