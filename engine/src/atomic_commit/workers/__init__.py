"""What a Celery app needs to carry transactions: settings, queues, threads, a reader that nothing ends."""
