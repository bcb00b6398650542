"""What every HTTP face of the system shares: problems, strict bodies, paging, waiting, health, documents.

Import rule of this folder: a module here may import the standard library, Flask, flask-smorest,
marshmallow, SQLAlchemy and `atomic_commit`. Never a service, and it knows no word of any service's trade.
A service calls `service_roles.assembly.assemble`, which calls `http_api.app.install` and registers its blueprints.

Read in this order: `app` (how it is put together), `problems` (the one shape of every error) with
`problem_types` and `problem_handlers`, `blueprint` (how a request is read) with `strict_json`, `schemas` (what its
fields may say), `paging`, `prefer`, `idempotency`, `distributed` and `transactions`, `health`, `docs`. `gunicorn_conf`
is for the server.
"""
