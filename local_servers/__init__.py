"""PostgreSQL, Redis or Valkey, RabbitMQ and supervised processes on this machine, as one launcher's child processes."""
