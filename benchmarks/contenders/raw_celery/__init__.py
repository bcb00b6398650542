"""Celery alone: a chain of empty tasks, as many as one removal of ours has messages, on the same queues and workers."""
