"""PostgreSQL, Redis or Valkey, RabbitMQ and supervised processes on this machine, as one launcher's child processes.

An application subclasses `local_servers.application.Application` and says its databases, the jobs that prepare them
and the programs that it keeps running: `workers` makes those of a service on the engine. `foreground` runs it until
Ctrl-C. Settings from the environment are the same for every application: EMBEDDED_STATE, SHOP_PG_BIN,
SHOP_REDIS_SERVER, SHOP_RABBITMQ_SERVER, POSTGRES_PORT, REDIS_PORT, …

Import rule: this package imports nothing else of this repository.
"""
