"""A travel agency: a trip is a payment, a seat and a room, in three databases, or nothing at all.

Import rule: this package knows `atomic_commit`, `local_servers`, Celery, SQLAlchemy and Flask, and nothing of the shop.
"""
